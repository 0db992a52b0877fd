"""Reads hostile label files that go by photo and box; `python -m tests.input.matched_fuzz SEED` repeats one."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.camerahmr_npz import read_camerahmr, read_skelcf
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import Found, matched_source
from pipeline.labels.exchange.photo_boxes import Undecided
from pipeline.labels.exchange.sam3d_parquet import read_sam3d
from schemas.person import SmplLabel
from tests.input.guarded import repeat
from tests.input.label_files import LabelCase, good_label
from tests.input.label_fuzz import PEOPLE, SHARD, LabelFileFuzzer
from tests.input.matched_files import FORMS, LEVELS, good_matched_file, good_pose, made_matched_case

READERS = {"camerahmr": read_camerahmr, "skelcf": read_skelcf, "sam3d": read_sam3d}


class MatchedFuzzer(LabelFileFuzzer):
    """Files that know people by photo and box: CameraHMR's, SKEL-CF's, SAM 3D Body's."""

    what = "hostile label files by photo and box"
    levels = len(LEVELS)
    refusals = (LabelStoreError, OSError)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "fuzz/labels.bin")

    def case(self, seed: int) -> LabelCase:
        return made_matched_case(seed)

    def check_good_files(self) -> None:
        for form in FORMS:
            self.path.write_bytes(good_matched_file(form))
            for number, label in enumerate(self.read(form)):
                if form == "skelcf":
                    assert isinstance(label, HsmrLabel), label
                    np.testing.assert_array_equal(label.q, good_label(number).q)
                else:
                    assert isinstance(label, SmplLabel), label
                    np.testing.assert_allclose(label.pose.reshape(-1), good_pose(number), atol=1e-6)

    def read(self, form: str) -> Sequence[Found]:
        return matched_source([str(self.path)], READERS[form]).of_shard(*SHARD, PEOPLE)

    def problem(self, label: Found) -> str | None:
        if label is None or isinstance(label, Undecided):
            return None
        arrays = (label.q, label.betas) if isinstance(label, HsmrLabel) else (label.pose, label.betas)
        shapes = ((46,), (10,)) if isinstance(label, HsmrLabel) else ((24, 3), (10,))
        for array, shape in zip(arrays, shapes, strict=True):
            if type(array) is not np.ndarray or array.dtype != np.float32 or array.shape != shape:
                return f"{array!r} is no float32 {shape}"
            if not np.isfinite(array).all():
                return f"{array!r} is not finite"
        return None


if __name__ == "__main__":
    sys.exit(repeat(MatchedFuzzer))
