"""Reads hostile label files, checks what must hold of each; `python -m tests.input.label_fuzz SEED` repeats one."""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.memory import peak_bytes, reset_peak
from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import LabelSource, NpzSource, PseudoGtSource, TarLabels
from schemas.person import PersonId
from tests.input.label_files import LEVELS, PLACES, LabelCase, good_file, good_label, made_label_case
from tests.input.watch import WATCH

MAX_CPU_SECONDS = 3.0
MAX_GROWTH_BYTES = (
    384 * 2**20
)  # the largest honest member that needs no compressed bytes to speak for it: 64 MB, copied
SHARD = ("hostile", "shard")
PEOPLE = [PersonId(*SHARD, key, person) for key, person in PLACES]
FORMS = ("tars", "npz", "pseudo_gt")


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run of cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    labels: int = 0
    slowest_seconds: float = 0.0
    growth_bytes: int = 0

    def lines(self) -> list[str]:
        return [
            f"{self.cases.total()} hostile label files: " + ", ".join(f"{n} {name}" for name, n in self.cases.items()),
            f"{self.refused} refused as a whole, {self.labels} labels came out of the others",
            f"slowest {self.slowest_seconds:.2f} s of CPU, resident set grew by {self.growth_bytes / 1e6:.0f} MB",
        ]


def source_of(form: str, path: Path) -> LabelSource:
    """The file as a user would name it to an import."""
    if form == "tars":
        return TarLabels(str(path))
    return NpzSource(str(path)) if form == "npz" else PseudoGtSource([str(path)])


class LabelFuzzer:
    """Runs cases in one folder, which must stay empty but for the file."""

    def __init__(self, folder: Path) -> None:
        self.tally = Tally()
        self._path = folder / "fuzz" / SHARD[0] / f"{SHARD[1]}.tar"
        self._path.parent.mkdir(parents=True)
        self._workdir = folder / "cwd"
        self._workdir.mkdir()
        for form in FORMS:
            self._path.write_bytes(good_file(form))
            for number, label in enumerate(self._read(form)):
                assert label is not None, f"{form} is no sound file"
                np.testing.assert_array_equal(label.q, good_label(number).q)
        for number in range(len(LEVELS)):  # what is imported on first use is no finding
            self._outcome(made_label_case(number))

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = made_label_case(seed)
        os.chdir(self._workdir)
        reset_peak()
        before, start = peak_bytes() or 0, time.thread_time()
        found, events = self._outcome(case)
        took, growth = time.thread_time() - start, (peak_bytes() or 0) - before
        name = f"seed {seed} ({case.level})"
        assert not events, f"{name}: {events}"
        assert os.listdir(self._workdir) == [], f"{name}: files appeared"
        assert os.listdir(self._path.parent) == [self._path.name], f"{name}: files appeared"
        assert took < MAX_CPU_SECONDS, f"{name}: {took:.1f} s"
        assert growth < MAX_GROWTH_BYTES, f"{name}: {growth / 1e6:.0f} MB"
        labels = [label for label in found or () if label is not None]
        for label in labels:
            problem = _problem(label)
            assert problem is None, f"{name}: {problem}"
        tally = self.tally
        tally.cases[case.level] += 1
        tally.refused += found is None
        tally.labels += len(labels)
        tally.slowest_seconds = max(tally.slowest_seconds, took)
        tally.growth_bytes = max(tally.growth_bytes, growth)

    def _outcome(self, case: LabelCase) -> tuple[Sequence[HsmrLabel | None] | None, list[str]]:
        """The labels of PEOPLE, None where the file was refused, and what the interpreter was asked to do."""
        self._path.write_bytes(case.data)
        WATCH.start(str(self._path))
        try:
            return self._read(case.form), WATCH.stop()
        except (LabelStoreError, OSError, ValueError) as error:
            message, events = str(error), WATCH.stop()
        finally:
            WATCH.stop()
        assert 0 < len(message) < 2000, f"seed {case.seed}: a message of {len(message)} characters"
        return None, events

    def _read(self, form: str) -> Sequence[HsmrLabel | None]:
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


def main() -> int:
    """Repeat the cases of the given seeds, in a new folder, and print what comes out."""
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = LabelFuzzer(Path(folder))
        for seed in sys.argv[1:]:
            fuzzer.run(int(seed))
        print("\n".join(fuzzer.tally.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
