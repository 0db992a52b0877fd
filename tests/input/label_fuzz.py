"""Reads hostile label files, checks what must hold of each; `python -m tests.input.label_fuzz SEED` repeats one."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import Found, LabelSource, NpzSource, PseudoGtSource, TarLabels
from schemas.person import PersonId, SmplLabel
from tests.input.guarded import Guard, Tally, repeat
from tests.input.label_files import LEVELS, PLACES, LabelCase, good_file, good_label, made_label_case
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


class LabelFileFuzzer(ABC):
    """Runs cases in one folder, which must stay empty but for the file; a kind of file says what is its own."""

    what: ClassVar[str]
    """What the cases are, in the plural."""
    levels: ClassVar[int]
    """How many kinds of damage there are; the first as many cases have one of each."""
    refusals: ClassVar[tuple[type[Exception], ...]]
    """What a reader may raise."""

    def __init__(self, folder: Path, name: str) -> None:
        """name: the file's, below the folder."""
        self.tally = LabelTally()
        self._guard = Guard(folder / name, folder / "cwd", MAX_GROWTH_BYTES)
        self.path = self._guard.path
        self.check_good_files()
        for number in range(self.levels):  # what is imported on first use is no finding
            case = self.case(number)
            self.path.write_bytes(case.data)
            self._labels_or_refusal(case.form)

    @abstractmethod
    def case(self, seed: int) -> LabelCase: ...

    @abstractmethod
    def check_good_files(self) -> None:
        """That sound files, written to `path`, are read as what they are."""

    @abstractmethod
    def read(self, form: str) -> Sequence[Found]:
        """The labels of PEOPLE in the file at `path`."""

    @abstractmethod
    def problem(self, label: Found) -> str | None:
        """What is wrong with what was read of a person, or None."""

    def lines(self) -> list[str]:
        tally = self.tally
        return [
            f"{tally.cases.total()} {self.what}: " + ", ".join(f"{n} {name}" for name, n in tally.cases.items()),
            f"{tally.refused} refused as a whole, {tally.labels} labels came out of the others",
            tally.took(),
        ]

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = self.case(seed)
        name = f"seed {seed} ({case.level})"
        found = self._guard.read(case.data, lambda: self._labels_or_refusal(case.form), name, case.level, self.tally)
        if isinstance(found, str):
            assert 0 < len(found) < 2000, f"{name}: a message of {len(found)} characters"
            self.tally.refused += 1
            return
        for label in found:
            problem = self.problem(label)
            assert problem is None, f"{name}: {problem}"
            self.tally.labels += isinstance(label, HsmrLabel | SmplLabel)

    def _labels_or_refusal(self, form: str) -> Sequence[Found] | str:
        """The labels of PEOPLE, or why the file is refused."""
        try:
            return self.read(form)
        except self.refusals as error:
            return str(error)


class LabelFuzzer(LabelFileFuzzer):
    """Files that know people by key and number: tars, npz, HSMR's refined labels."""

    what = "hostile label files"
    levels = len(LEVELS)
    refusals = (LabelStoreError, OSError, ValueError)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, f"fuzz/{SHARD[0]}/{SHARD[1]}.tar")

    def case(self, seed: int) -> LabelCase:
        return made_label_case(seed)

    def check_good_files(self) -> None:
        for form in FORMS:
            self.path.write_bytes(good_file(form))
            for number, label in enumerate(self.read(form)):
                assert isinstance(label, HsmrLabel), f"{form} is no sound file"
                np.testing.assert_array_equal(label.q, good_label(number).q)

    def read(self, form: str) -> Sequence[Found]:
        return source_of(form, self.path).of_shard(*SHARD, PEOPLE)

    def problem(self, label: Found) -> str | None:
        if not isinstance(label, HsmrLabel):
            return None
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
