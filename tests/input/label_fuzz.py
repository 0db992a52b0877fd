"""Reads hostile label files, checks what must hold of each; `python -m tests.input.label_fuzz SEED` repeats one."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import Found, LabelSource, NpzSource, PseudoGtSource, TarLabels
from schemas.person import PersonId
from tests.input.guarded import Guard, Tally, repeat
from tests.input.label_files import LEVELS, PLACES, good_file, good_label, made_label_case
from tests.input.matched_files import boxed_person

MAX_GROWTH_BYTES = 384 * 2**20
"""Of a case; the largest honest member that needs no compressed bytes to speak for it has 64 MB, and is copied."""
SHARD = ("hostile", "shard")
PEOPLE = [boxed_person(PersonId(*SHARD, key, person), place) for place, (key, person) in enumerate(PLACES)]
FORMS = ("tars", "npz", "pseudo_gt")


@dataclass(slots=True, kw_only=True)
class LabelTally(Tally):
    """And what came out."""

    refused: int = 0
    labels: int = 0


def source_of(form: str, path: Path) -> LabelSource:
    """The file as a user would name it to an import."""
    if form == "tars":
        return TarLabels(str(path))
    return NpzSource(str(path)) if form == "npz" else PseudoGtSource([str(path)])


class LabelFuzzer:
    """Runs cases in one folder, which must stay empty but for the file."""

    def __init__(self, folder: Path) -> None:
        self.tally = LabelTally()
        self._guard = Guard(folder / "fuzz" / SHARD[0] / f"{SHARD[1]}.tar", folder / "cwd", MAX_GROWTH_BYTES)
        self._path = self._guard.path
        for form in FORMS:
            self._path.write_bytes(good_file(form))
            for number, label in enumerate(self._read(form)):
                assert isinstance(label, HsmrLabel), f"{form} is no sound file"
                np.testing.assert_array_equal(label.q, good_label(number).q)
        for number in range(len(LEVELS)):  # what is imported on first use is no finding
            case = made_label_case(number)
            self._path.write_bytes(case.data)
            self._labels_or_refusal(case.form)

    def lines(self) -> list[str]:
        tally = self.tally
        return [
            f"{tally.cases.total()} hostile label files: "
            + ", ".join(f"{n} {name}" for name, n in tally.cases.items()),
            f"{tally.refused} refused as a whole, {tally.labels} labels came out of the others",
            tally.took(),
        ]

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = made_label_case(seed)
        name = f"seed {seed} ({case.level})"
        found = self._guard.read(case.data, lambda: self._labels_or_refusal(case.form), name, case.level, self.tally)
        if isinstance(found, str):
            assert 0 < len(found) < 2000, f"{name}: a message of {len(found)} characters"
            self.tally.refused += 1
            return
        labels = [label for label in found if isinstance(label, HsmrLabel)]
        for label in labels:
            problem = _problem(label)
            assert problem is None, f"{name}: {problem}"
        self.tally.labels += len(labels)

    def _labels_or_refusal(self, form: str) -> Sequence[Found] | str:
        """The labels of PEOPLE, or why the file is refused."""
        try:
            return self._read(form)
        except (LabelStoreError, OSError, ValueError) as error:
            return str(error)

    def _read(self, form: str) -> Sequence[Found]:
        return source_of(form, self._path).of_shard(*SHARD, PEOPLE)


def _problem(label: HsmrLabel) -> str | None:
    """What is wrong with a label that was read, or None."""
    for name, size in (("q", 46), ("betas", 10)):
        array = getattr(label, name)
        if type(array) is not np.ndarray or array.dtype != np.float32 or array.shape != (size,):
            return f"{name} is no float32 ({size},)"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
    figures = (label.pve_max, label.kp2d_err, label.distance_mm)
    return None if all(type(figure) is float for figure in figures) else f"figures {figures}"


if __name__ == "__main__":
    sys.exit(repeat(LabelFuzzer))
