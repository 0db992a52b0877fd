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
from schemas.person import PersonId, SmplLabel
from tests.input.guarded import Guard, repeat
from tests.input.label_files import PLACES, good_label
from tests.input.label_fuzz import MAX_GROWTH_BYTES, SHARD, LabelTally
from tests.input.matched_files import FORMS, LEVELS, boxed_person, good_matched_file, good_pose, made_matched_case

PEOPLE = [boxed_person(PersonId(*SHARD, key, person), place) for place, (key, person) in enumerate(PLACES)]
READERS = {"camerahmr": read_camerahmr, "skelcf": read_skelcf, "sam3d": read_sam3d}


class MatchedFuzzer:
    """Runs cases in one folder, which must stay empty but for the file."""

    def __init__(self, folder: Path) -> None:
        self.tally = LabelTally()
        self._guard = Guard(folder / "fuzz" / "labels.bin", folder / "cwd", MAX_GROWTH_BYTES)
        for form in FORMS:
            self._guard.path.write_bytes(good_matched_file(form))
            for number, label in enumerate(self._read(form)):
                if form == "skelcf":
                    assert isinstance(label, HsmrLabel), label
                    np.testing.assert_array_equal(label.q, good_label(number).q)
                else:
                    assert isinstance(label, SmplLabel), label
                    np.testing.assert_allclose(label.pose.reshape(-1), good_pose(number), atol=1e-6)
        for number in range(len(LEVELS)):  # what is imported on first use is no finding
            case = made_matched_case(number)
            self._guard.path.write_bytes(case.data)
            self._labels_or_refusal(case.form)

    def lines(self) -> list[str]:
        tally = self.tally
        return [
            f"{tally.cases.total()} hostile label files by photo and box: "
            + ", ".join(f"{n} {name}" for name, n in tally.cases.items()),
            f"{tally.refused} refused as a whole, {tally.labels} labels came out of the others",
            tally.took(),
        ]

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = made_matched_case(seed)
        name = f"seed {seed} ({case.level})"
        found = self._guard.read(case.data, lambda: self._labels_or_refusal(case.form), name, case.level, self.tally)
        if isinstance(found, str):
            assert 0 < len(found) < 2000, f"{name}: a message of {len(found)} characters"
            self.tally.refused += 1
            return
        for label in found:
            problem = _problem(label)
            assert problem is None, f"{name}: {problem}"
            self.tally.labels += isinstance(label, HsmrLabel | SmplLabel)

    def _labels_or_refusal(self, form: str) -> Sequence[Found] | str:
        """The labels of PEOPLE, or why the file is refused."""
        try:
            return self._read(form)
        except (LabelStoreError, OSError) as error:
            return str(error)

    def _read(self, form: str) -> Sequence[Found]:
        return matched_source([str(self._guard.path)], READERS[form]).of_shard(*SHARD, PEOPLE)


def _problem(label: Found) -> str | None:
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
