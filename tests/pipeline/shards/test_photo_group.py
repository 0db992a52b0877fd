"""Photos that show the same are one group: the same file under two names, the frames of a film."""

from pathlib import Path

from pipeline.shards import RawSample, write_shard
from pipeline.shards.photo_group import photo_group
from tests.pipeline.shards.samples import person, photo_bytes, read


def filmed(track_id: str, frame: int) -> dict[str, object]:
    return person(extra_info={"track_id": track_id, "frame": frame})


def groups(path: Path) -> dict[str, int | None]:
    photos, _ = read(path)
    return {photo.key: photo.people[0].photo_group for photo in photos}


def test_the_same_file_is_one_group_whatever_data_set_and_key() -> None:
    jpeg = photo_bytes(1)
    one, other = photo_group(jpeg, "coco", "coco/1", ()), photo_group(jpeg, "coco-vit", "vit/17", ())
    assert one == other
    assert one != photo_group(photo_bytes(2), "coco", "coco/1", ())
    assert -(2**63) <= one < 2**63


def test_the_numbers_never_change() -> None:
    """They are stored: another definition would move people between the parts of a split."""
    assert photo_group(b"jpeg", "set", "a", ()) == -4754347280154556568
    assert photo_group(b"jpeg", "set", "film/0007", [("3", 7)]) == 4905236282050904315
    assert photo_group(b"jpeg", "set", "film/0007", [("3", 1)]) == -2262641413083177145


def test_frames_of_a_film_are_one_group_by_the_key_without_its_frame_number() -> None:
    """Whoever is in the frame; another film is another group."""
    film = [photo_group(photo_bytes(i), "s", f"s/a_{i:04d}", [(f"p{i % 2}", i)]) for i in range(12)]
    assert len(set(film)) == 1
    assert photo_group(photo_bytes(0), "s", "s/b_0000", [("p0", 0)]) != film[0]
    assert photo_group(photo_bytes(0), "renamed", "s/a_0000", [("p0", 0)]) == film[0], "a copy under another data set"


def test_frames_whose_keys_number_something_else_are_grouped_by_track() -> None:
    def group(key: int, track_id: str, frame: int, dataset: str = "s") -> int:
        return photo_group(photo_bytes(key), dataset, f"s/{key:06d}", [(track_id, frame)])

    assert group(100, "clip1", 0) == group(101, "clip1", 1)
    assert group(100, "clip1", 0) != group(102, "clip2", 0)
    assert group(100, "clip1", 0) != group(100, "clip1", 0, "t"), "track ids are names within a data set"


def test_the_reader_tells_every_person(tmp_path: Path) -> None:
    jpeg = photo_bytes(3)
    write_shard(
        str(tmp_path / "a" / "000000.tar"),
        [
            RawSample(key="x", jpeg=jpeg, people=[person(0), person(1)]),
            RawSample(key="y", jpeg=photo_bytes(4), people=[person(0)]),
            RawSample(key="film/1", jpeg=photo_bytes(5), people=[person(0), filmed("t", 1)]),
            RawSample(key="film/2", jpeg=photo_bytes(6), people=[filmed("u", 2)]),
        ],
    )
    write_shard(str(tmp_path / "b" / "000007.tar"), [RawSample(key="z", jpeg=jpeg, people=[person(9)])])
    first, second = groups(tmp_path / "a" / "000000.tar"), groups(tmp_path / "b" / "000007.tar")
    assert first["x"] == second["z"] != first["y"]
    assert first["film/1"] == first["film/2"]
    photos, _ = read(tmp_path / "a" / "000000.tar")
    assert all(len({who.photo_group for who in photo.people}) == 1 for photo in photos)
