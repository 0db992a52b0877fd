"""Reads hostile shards, checks what must hold of every one; `python -m tests.input.fuzz SEED` repeats one."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.shards import list_shards, read_shard
from pipeline.shards.person_record import MAX_SIDE_PER_PHOTO, MIN_SIDE_PX
from schemas.person import Person, Photo, Rejection, RejectionReason
from tests.input.guarded import Guard, Tally, repeat
from tests.input.mutations import KEYS, Case, good_tar, made_case, shared_seeds
from tests.repository import SHARED

MAX_GROWTH_BYTES = 256 * 2**20  # of a case; the largest honest one decodes a progressive photo of 25 million pixels
_SHARD_REASONS = {RejectionReason.SHARD_TRUNCATED, RejectionReason.SHARD_UNREADABLE, RejectionReason.SHARD_EMPTY}


@dataclass(slots=True, kw_only=True)
class ShardTally(Tally):
    """And what came through."""

    photos: int = 0
    people: int = 0
    rejections: Counter[str] = field(default_factory=Counter)


class Fuzzer:
    """Runs cases in one folder, which must stay empty but for the shard."""

    def __init__(self, folder: Path, shared: Path | None) -> None:
        self.tally = ShardTally()
        self._guard = Guard(folder / "fuzz" / "shard.tar", folder / "cwd", MAX_GROWTH_BYTES)
        self._path = self._guard.path
        self._seeds = () if shared is None else shared_seeds(shared)
        self._path.write_bytes(good_tar())
        self._good = {item.key: item for item in self._read() if isinstance(item, Photo)}
        assert tuple(self._good) == KEYS
        for number in range(7):  # what is imported on first use is no finding
            self._path.write_bytes(made_case(number, self._seeds).tar)
            self._read()

    def lines(self) -> list[str]:
        tally = self.tally
        return [
            f"{tally.cases.total()} hostile shards: " + ", ".join(f"{n} {level}" for level, n in tally.cases.items()),
            f"{tally.photos} photos with {tally.people} people came through, {tally.rejections.total()} rejections: "
            + ", ".join(f"{n} {reason}" for reason, n in tally.rejections.most_common()),
            tally.took(),
        ]

    def run(self, seed: int) -> None:
        """One case. Raises AssertionError naming the seed."""
        case = made_case(seed, self._seeds)
        name = f"seed {seed} ({case.level})"
        items = self._guard.read(case.tar, self._read, name, case.level, self.tally)
        self._check(case, items, name)
        self._count(items)

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

    def _count(self, items: list[Photo | Rejection]) -> None:
        tally = self.tally
        for item in items:
            if isinstance(item, Photo):
                tally.photos += 1
                tally.people += len(item.people)
            else:
                tally.rejections[str(item.reason)] += 1


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


if __name__ == "__main__":
    sys.exit(repeat(lambda folder: Fuzzer(folder, SHARED if SHARED.is_dir() else None)))
