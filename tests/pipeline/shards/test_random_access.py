"""A photo read by itself is the one that reading the whole shard gives."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.shards import RawSample, list_shards, read_shard, write_shard
from pipeline.shards.random_access import ShardIndex, index_shard, read_photo
from schemas.person import Photo, Rejection, RejectionReason
from tests.pipeline.shards.samples import members, sample, write_tar


def indexed(path: Path) -> ShardIndex:
    return index_shard(list_shards(str(path))[0])


def equal(a: Photo, b: Photo) -> bool:
    same = (a.key, a.jpeg, a.width, a.height) == (b.key, b.jpeg, b.width, b.height)
    people = zip(a.people, b.people, strict=True)
    return same and all(p.id == q.id and np.array_equal(p.keypoints_2d, q.keypoints_2d) for p, q in people)


def made(folder: Path) -> Path:
    samples: list[RawSample] = [sample(f"set/{name}", 2, i) for i, name in enumerate(("a", "b", "ü" * 90, "<c>"))]
    path = folder / "000000.tar"
    write_shard(str(path), samples)
    return path


def test_every_photo_is_found_in_any_order(tmp_path: Path) -> None:
    path = made(tmp_path)
    photos = [item for item in read_shard(list_shards(str(path))[0]) if isinstance(item, Photo)]
    index = indexed(path)
    assert list(index.members) == [photo.key for photo in photos]
    for photo in reversed(photos):
        found = read_photo(index, photo.key)
        assert isinstance(found, Photo)
        assert equal(found, photo)
    assert read_photo(index, "set/nobody") is None


def test_the_first_of_two_samples_of_a_name_counts(tmp_path: Path) -> None:
    first, between, second = sample("set/a", 1, 0), sample("set/b", 1, 1), sample("set/a", 1, 2)
    path = write_tar(tmp_path / "0.tar", [m for item in (first, between, second) for m in members(item)])
    found = read_photo(indexed(path), "set/a")
    assert isinstance(found, Photo)
    assert found.jpeg == first.jpeg


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("set/a.jpg", b"not a picture"), members(sample("set/a"))[1]], RejectionReason.UNDECODABLE_PHOTO),
        ([members(sample("set/a"))[0]], RejectionReason.MISSING_LABELS),
        ([members(sample("set/a"))[0], ("set/a.data.pyd", b"cos\nsystem\n.")], RejectionReason.FORBIDDEN_PICKLE),
        ([members(sample("set/a"))[0], ("set/a.data.pyd", b"\x80")], RejectionReason.MALFORMED_LABELS),
    ],
)
def test_what_is_refused_in_a_shard_is_refused_alone(
    entries: list[tuple[str, bytes]], reason: RejectionReason, tmp_path: Path
) -> None:
    found = read_photo(indexed(write_tar(tmp_path / "0.tar", entries)), "set/a")
    assert isinstance(found, Rejection)
    assert found.reason == reason


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", members(sample("../../etc/passwd")))
    found = read_photo(indexed(path), "../../etc/passwd")
    assert isinstance(found, Rejection)
    assert found.reason == RejectionReason.UNSAFE_NAME


def test_links_are_no_members(tmp_path: Path) -> None:
    link = tarfile.TarInfo("set/a.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    index = indexed(write_tar(tmp_path / "0.tar", [(link, b""), *members(sample("set/b"))]))
    assert list(index.members) == ["set/b"]


def test_a_cut_shard_gives_what_came_before(tmp_path: Path) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes()[:-9000])
    index = indexed(path)
    assert isinstance(read_photo(index, "set/a"), Photo)


def test_a_shard_that_changed_is_not_read(tmp_path: Path) -> None:
    path = made(tmp_path)
    index = indexed(path)
    path.write_bytes(path.read_bytes() + b"\x00" * 512)
    with pytest.raises(OSError, match="the shard changed"):
        read_photo(index, "set/a")
