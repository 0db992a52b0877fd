"""Reads hostile shards, checks what must hold of every one; `python -m tests.input.fuzz SEED` repeats one."""

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.memory import peak_bytes, reset_peak
from pipeline.shards import list_shards, read_shard
from pipeline.shards.person_record import MAX_SIDE_PER_PHOTO, MIN_SIDE_PX
from schemas.person import Person, Photo, Rejection, RejectionReason
from tests.input.mutations import KEYS, Case, good_tar, made_case, shared_seeds
from tests.input.watch import WATCH
from tests.repository import SHARED

MAX_CPU_SECONDS = 3.0
MAX_GROWTH_BYTES = 256 * 2**20  # of a case; the largest honest one decodes a progressive photo of 25 million pixels
_SHARD_REASONS = {RejectionReason.SHARD_TRUNCATED, RejectionReason.SHARD_UNREADABLE, RejectionReason.SHARD_EMPTY}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run of cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    photos: int = 0
    people: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    growth_bytes: int = 0

    def lines(self) -> list[str]:
        return [
            f"{self.cases.total()} hostile shards: " + ", ".join(f"{n} {level}" for level, n in self.cases.items()),
            f"{self.photos} photos with {self.people} people came through, {self.rejections.total()} rejections: "
            + ", ".join(f"{n} {reason}" for reason, n in self.rejections.most_common()),
            f"slowest {self.slowest_seconds:.2f} s of CPU, resident set grew by {self.growth_bytes / 1e6:.0f} MB",
        ]


class Fuzzer:
    """Runs cases in one folder, which must stay empty but for the shard."""

    def __init__(self, folder: Path, shared: Path | None) -> None:
        self.tally = Tally()
        self._path = folder / "fuzz" / "shard.tar"
        self._path.parent.mkdir()
        self._workdir = folder / "cwd"
        self._workdir.mkdir()
        self._seeds = () if shared is None else shared_seeds(shared)
        self._path.write_bytes(good_tar())
        self._good = {item.key: item for item in self._read() if isinstance(item, Photo)}
        assert tuple(self._good) == KEYS
        for number in range(7):  # what is imported on first use is no finding
            self._path.write_bytes(made_case(number, self._seeds).tar)
            self._read()

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = made_case(seed, self._seeds)
        self._path.write_bytes(case.tar)
        os.chdir(self._workdir)
        reset_peak()
        before, start = peak_bytes() or 0, time.thread_time()
        WATCH.start(str(self._path))
        try:
            items = self._read()
        finally:
            events = WATCH.stop()
        took, growth = time.thread_time() - start, (peak_bytes() or 0) - before
        name = f"seed {seed} ({case.level})"
        assert not events, f"{name}: {events}"
        assert os.listdir(self._workdir) == [], f"{name}: files appeared"
        assert os.listdir(self._path.parent) == [self._path.name], f"{name}: files appeared"
        assert took < MAX_CPU_SECONDS, f"{name}: {took:.1f} s"
        assert growth < MAX_GROWTH_BYTES, f"{name}: {growth / 1e6:.0f} MB"
        self._check(case, items, name)
        self._count(case, items, took, growth)

    def _read(self) -> list[Photo | Rejection]:
        return list(read_shard(list_shards(str(self._path))[0]))

    def _check(self, case: Case, items: list[Photo | Rejection], name: str) -> None:
        photos = {item.key: item for item in items if isinstance(item, Photo)}
        rejections = [item for item in items if isinstance(item, Rejection)]
        assert len(photos) + len(rejections) == len(items), f"{name}: a key twice, or something else was given"
        assert items, f"{name}: silence"
        for photo in photos.values():
            for person in photo.people:
                problem = _problem(person, photo)
                assert problem is None, f"{name}: {photo.key} #{person.id.person}: {problem}"
        for rejection in rejections:
            assert 0 < len(rejection.detail) < 2000, f"{name}: detail of {len(rejection.detail)} characters"
            f"{rejection.key} {rejection.detail}".encode()
        # What lies behind a break of the archive may be lost, but not silently.
        broken = any(item.reason in _SHARD_REASONS for item in rejections)
        for key in case.kept:
            if key in photos:
                assert _same(photos[key], self._good[key]), f"{name}: {key} changed"
            else:
                assert broken, f"{name}: {key} was lost"
                assert key != KEYS[0], f"{name}: {key}, before the damage, was lost"
        for key in set(KEYS) - photos.keys() if case.level in ("jpeg", "pickle", "values") else ():
            assert any(item.key == key for item in rejections), f"{name}: {key} vanished without a word"

    def _count(self, case: Case, items: list[Photo | Rejection], took: float, growth: int) -> None:
        tally = self.tally
        tally.cases[case.level] += 1
        for item in items:
            if isinstance(item, Photo):
                tally.photos += 1
                tally.people += len(item.people)
            else:
                tally.rejections[str(item.reason)] += 1
        tally.slowest_seconds = max(tally.slowest_seconds, took)
        tally.growth_bytes = max(tally.growth_bytes, growth)


def _problem(person: Person, photo: Photo) -> str | None:
    """What is wrong with an accepted person, or None."""
    shapes = {"keypoints_2d": (44, 3), "keypoints_3d": (44, 4), "center": (2,)}
    arrays = {name: getattr(person, name) for name in shapes}
    if person.smpl is not None:
        arrays |= {"pose": person.smpl.pose, "betas": person.smpl.betas}
        shapes |= {"pose": (24, 3), "betas": (10,)}
    for name, array in arrays.items():
        if type(array) is not np.ndarray or array.dtype != np.float32 or array.shape != shapes[name]:
            return f"{name} is no float32 {shapes[name]}"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
    if not MIN_SIDE_PX <= person.side <= MAX_SIDE_PER_PHOTO * max(photo.width, photo.height):
        return f"side {person.side}"
    return None


def _same(photo: Photo, good: Photo) -> bool:
    def values(person: Person) -> list[object]:
        smpl = person.smpl
        arrays = [person.keypoints_2d, person.keypoints_3d, person.center, *((smpl.pose, smpl.betas) if smpl else ())]
        return [array.tobytes() for array in arrays] + [person.side, person.id.key, person.id.person, person.track]

    return (photo.jpeg, photo.width, photo.height) == (good.jpeg, good.width, good.height) and [
        values(person) for person in photo.people
    ] == [values(person) for person in good.people]


def main() -> int:
    """Repeat the cases of the given seeds, in a new folder, and print what comes out."""
    import tempfile

    shared = SHARED
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder), shared if shared.is_dir() else None)
        for seed in sys.argv[1:]:
            fuzzer.run(int(seed))
        print("\n".join(fuzzer.tally.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
