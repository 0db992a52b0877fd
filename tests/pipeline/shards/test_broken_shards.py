"""Every broken shard behaves as EXPECTED says, and so do their equivalents made here."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards import list_shards, read_shard
from schemas.person import Photo, Rejection, RejectionReason
from tests.pipeline.shards.samples import members, person, photo_bytes, read, reasons, sample, write_tar

GOOD = ["broken/ballerina", "broken/skateboard", "broken/rock_climbing"]
BROKEN = GOOD[1]
R = RejectionReason


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch PWNED",)


def three(second: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Three samples of one person each, the second replaced."""
    return members(sample(GOOD[0])) + second + members(sample(GOOD[2], seed=2))


def with_people(people: Any) -> list[tuple[str, bytes]]:
    return three([(f"{BROKEN}.jpg", photo_bytes()), (f"{BROKEN}.data.pyd", pickle.dumps(people, 4))])


def half_noise() -> bytes:
    jpeg = photo_bytes()
    return jpeg[: len(jpeg) // 2] + np.random.default_rng(0).bytes(len(jpeg) // 2)


def nan_keypoints() -> dict[str, Any]:
    record = person()
    record["keypoints_2d"][[4, 7, 25], :2] = np.nan
    return record


def make_bad_jpeg(path: Path) -> None:
    write_tar(path, three([(f"{BROKEN}.jpg", half_noise()), (f"{BROKEN}.data.pyd", members(sample())[1][1])]))


def make_duplicate_keys(path: Path) -> None:
    again = members(sample(GOOD[0], seed=9))
    write_tar(path, members(sample(GOOD[0])) + again + members(sample(GOOD[1], seed=1)))


def make_truncated(path: Path) -> None:
    write_tar(path, three(members(sample(BROKEN, seed=1))))
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xff\xd8\xff") + 700])  # inside the third photo


MAKERS: dict[str, Callable[[Path], object]] = {
    "truncated": make_truncated,
    "bad_jpeg": make_bad_jpeg,
    "nan_keypoints": lambda path: write_tar(path, with_people([nan_keypoints()])),
    "wrong_shape": lambda path: write_tar(path, with_people([person(keypoints_2d=np.zeros((17, 3)))])),
    "missing_pyd": lambda path: write_tar(path, three([(f"{BROKEN}.jpg", photo_bytes())])),
    "hostile_pickle": lambda path: write_tar(path, with_people(Hostile())),
    "empty": lambda path: write_tar(path, []),
    "empty_people": lambda path: write_tar(path, with_people([])),
    "duplicate_keys": make_duplicate_keys,
    "huge_bbox": lambda path: write_tar(
        path, with_people([person(scale=np.zeros(2, np.float32)), person(scale=np.full(2, 1e9, np.float32))])
    ),
    "not_a_tar": lambda path: path.write_bytes(np.random.default_rng(1).bytes(4096)),
}

# shard -> (people per photo given, rejections)
EXPECTED: dict[str, tuple[dict[str, int], list[tuple[str | None, int | None, RejectionReason]]]] = {
    "truncated": ({GOOD[0]: 1, GOOD[1]: 1}, [(None, None, R.SHARD_TRUNCATED)]),
    "bad_jpeg": ({GOOD[0]: 1, GOOD[2]: 1}, [(BROKEN, None, R.UNDECODABLE_PHOTO)]),
    "nan_keypoints": (dict.fromkeys(GOOD, 1), [(BROKEN, 0, R.KEYPOINTS_NOT_FINITE)]),
    "wrong_shape": ({GOOD[0]: 1, GOOD[1]: 0, GOOD[2]: 1}, [(BROKEN, 0, R.WRONG_SHAPE)]),
    "missing_pyd": ({GOOD[0]: 1, GOOD[2]: 1}, [(BROKEN, None, R.MISSING_LABELS)]),
    "hostile_pickle": ({GOOD[0]: 1, GOOD[2]: 1}, [(BROKEN, None, R.FORBIDDEN_PICKLE)]),
    "empty": ({}, [(None, None, R.SHARD_EMPTY)]),
    "empty_people": ({GOOD[0]: 1, GOOD[1]: 0, GOOD[2]: 1}, []),
    "duplicate_keys": ({GOOD[0]: 1, GOOD[1]: 1}, [(GOOD[0], None, R.DUPLICATE_KEY)]),
    "huge_bbox": ({GOOD[0]: 1, GOOD[1]: 0, GOOD[2]: 1}, [(BROKEN, 0, R.BAD_BOX), (BROKEN, 1, R.BAD_BOX)]),
    "not_a_tar": ({}, [(None, None, R.SHARD_UNREADABLE)]),
}


def check(path: Path, name: str) -> tuple[list[Photo], list[Rejection]]:
    photos, rejections = read(path)
    people, refused = EXPECTED[name]
    assert {photo.key: len(photo.people) for photo in photos} == people
    assert reasons(rejections) == refused
    assert all(r.dataset == path.parent.name and r.shard == name and r.detail for r in rejections)
    for p in (p for photo in photos for p in photo.people):
        assert np.isfinite(p.keypoints_2d).all()
        assert np.isfinite(p.keypoints_3d).all()
    return photos, rejections


@pytest.mark.parametrize("name", EXPECTED)
def test_made_here(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "broken" / f"{name}.tar"
    path.parent.mkdir()
    MAKERS[name](path)
    check(path, name)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("name", EXPECTED)
def test_shared(name: str, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(shared_dir / "data" / "broken" / f"{name}.tar", name)
    assert not (tmp_path / "PWNED").exists()


def test_the_tests_cover_every_shared_shard(shared_dir: Path) -> None:
    assert {p.stem for p in (shared_dir / "data" / "broken").glob("*.tar")} == set(EXPECTED)


def test_nan_keypoints_lose_their_confidence_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "broken" / "nan_keypoints.tar"
    path.parent.mkdir()
    MAKERS["nan_keypoints"](path)
    repaired = next(p for p in check(path, "nan_keypoints")[0] if p.key == BROKEN).people[0].keypoints_2d
    expected = person()["keypoints_2d"]
    expected[[4, 7, 25]] = 0
    np.testing.assert_array_equal(repaired, expected)


def test_the_first_of_two_samples_with_one_key_is_kept(shared_dir: Path) -> None:
    twice = read(shared_dir / "data" / "broken" / "duplicate_keys.tar")[0][0]
    once = read(shared_dir / "data" / "broken" / "missing_pyd.tar")[0][0]
    np.testing.assert_array_equal(twice.people[0].keypoints_2d, once.people[0].keypoints_2d)


def test_real_photos(shared_dir: Path) -> None:
    shards = list_shards(str(shared_dir / "data" / "real_photos" / "{000000..000002}.tar"))
    items = [item for info in shards for item in read_shard(info)]
    photos = [item for item in items if isinstance(item, Photo)]
    people = [p for photo in photos for p in photo.people]
    assert items == photos
    assert (len(photos), len(people), sum(p.smpl is not None for p in people)) == (8, 17, 12)
    assert {(p.key, p.width, p.height) for p in photos} >= {("real-photos/skates", 1280, 528)}
    assert [p.id.person for p in people if p.id.key == "real-photos/yoga1"] == [0, 1, 2, 3, 4]
    assert {p.id.dataset for p in people} == {"real_photos"}
