"""The reader's rules: names, order, limits, damage at any place, and the checks of a person."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import list_shards, person_record, read_shard
from pipeline.shards.reader import MAX_PEOPLE, split_name
from schemas.camera import CameraSource
from schemas.person import Photo, Rejection, RejectionReason
from tests.pipeline.shards.samples import members, person, photo_bytes, read, reasons, sample, write_tar

R = RejectionReason


def labelled(people: Any, key: str = "a") -> list[tuple[str | tarfile.TarInfo, bytes]]:
    return [(f"{key}.jpg", photo_bytes()), (f"{key}.data.pyd", pickle.dumps(people, 4))]


def read_people(tmp_path: Path, *people: Any) -> tuple[Photo, list[Rejection]]:
    (photo,), rejections = read(write_tar(tmp_path / "d" / "s.tar", labelled(list(people))))
    return photo, rejections


# --- tar ---


@pytest.fixture(scope="module")
def small_tar(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three samples, one with a long name (PAX header), one with a member that nobody reads."""
    entries = [*members(sample("set/a")), ("set/a.detection.npz", b"masks" * 300)]
    entries += members(sample("set/" + "long" * 40, seed=1)) + members(sample("set/c", seed=2))
    return write_tar(tmp_path_factory.mktemp("d") / "s.tar", entries).read_bytes()


def read_bytes(tmp_path: Path, data: bytes) -> tuple[list[Photo], list[Rejection]]:
    path = tmp_path / "s.tar"
    path.write_bytes(data)
    return read(path)


def test_truncation_at_every_block(tmp_path: Path, small_tar: bytes) -> None:
    whole = read_bytes(tmp_path, small_tar)[0]
    assert len(whole) == 3
    end = len(small_tar.rstrip(b"\0")) + 512
    n_before = 0
    for cut in range(0, len(small_tar), 512):
        photos, rejections = read_bytes(tmp_path, small_tar[:cut])
        assert [p.key for p in photos] == [p.key for p in whole[: len(photos)]]
        assert [p.jpeg for p in photos] == [p.jpeg for p in whole[: len(photos)]]
        assert len(photos) >= n_before
        n_before = len(photos)
        expected = [R.SHARD_UNREADABLE] if cut == 0 else [R.SHARD_TRUNCATED] if cut < end else []
        assert [r.reason for r in rejections] == expected, cut
    assert n_before == 3


@given(cut=st.integers(1, 40_000))
@settings(max_examples=60)
def test_truncation_at_any_byte(tmp_path_factory: pytest.TempPathFactory, small_tar: bytes, cut: int) -> None:
    data = small_tar[: cut % len(small_tar.rstrip(b"\0"))]
    photos, rejections = read_bytes(tmp_path_factory.mktemp("cut"), data)
    assert [r.reason for r in rejections] == [R.SHARD_UNREADABLE if len(data) < 512 else R.SHARD_TRUNCATED]
    assert all(len(p.people) == 1 for p in photos)


@given(damage=st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=600)), min_size=1, max_size=3))
@settings(max_examples=150)
def test_any_damage_is_reported_never_raised(
    tmp_path_factory: pytest.TempPathFactory, small_tar: bytes, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(small_tar)
    for at, noise in damage:
        at %= len(data)
        data[at : at + len(noise)] = noise
    photos, rejections = read_bytes(tmp_path_factory.mktemp("damage"), bytes(data))
    for p in (p for photo in photos for p in photo.people):
        assert np.isfinite(p.keypoints_2d).all()
        assert np.isfinite(p.center).all()
    for rejection in rejections:  # must fit in a JSON file
        assert (rejection.detail + (rejection.key or "")).encode()


def test_a_damaged_header_in_the_middle_is_no_silent_end(tmp_path: Path, small_tar: bytes) -> None:
    at = small_tar.index(b"set/c.jpg")
    photos, (rejection,) = read_bytes(tmp_path, small_tar[:at] + b"X" + small_tar[at + 1 :])
    assert len(photos) == 2
    assert rejection.reason == R.SHARD_TRUNCATED
    assert f"byte {at}" in rejection.detail


def test_a_second_archive_behind_the_first_is_reported(tmp_path: Path, small_tar: bytes) -> None:
    photos, (rejection,) = read_bytes(tmp_path, small_tar + small_tar)
    assert len(photos) == 3
    assert rejection.reason == R.SHARD_TRUNCATED
    assert "joined" in rejection.detail


def test_a_gzip_file_is_named_as_such(tmp_path: Path) -> None:
    _, (rejection,) = read_bytes(tmp_path, b"\x1f\x8b\x08" + bytes(2000))
    assert rejection.reason == R.SHARD_UNREADABLE
    assert "gunzip" in rejection.detail


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_tar_formats(tmp_path: Path, tar_format: int) -> None:
    key = "folder" * 16 + "/" + "k" * 90
    path = tmp_path / "d" / "s.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in members(sample(key)):
            (tmp_path / "member").write_bytes(data)
            tar.add(tmp_path / "member", name)
    assert [p.key for p in read(path)[0]] == [key]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("set/a.jpg")
    link.type, link.linkname = kind, "/etc/passwd"
    photos, rejections = read(write_tar(tmp_path / "d" / "s.tar", [(link, b""), *members(sample("set/b"))]))
    assert [p.key for p in photos] == ["set/b"]
    assert reasons(rejections) == [(None, None, R.UNSAFE_NAME)]


@pytest.mark.parametrize("key", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "a\nb", "k" * 2000, "bad\udcff"])
def test_unsafe_names_are_refused_once_a_sample(tmp_path: Path, key: str) -> None:
    path = tmp_path / "d" / "s.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for name, data in members(sample(key)) + members(sample("good")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    photos, rejections = read(path)
    assert [p.key for p in photos] == ["good"]
    assert [r.reason for r in rejections] == [R.UNSAFE_NAME]
    assert (rejections[0].key or "").encode()


def test_folders_and_nameless_members_do_not_break_a_sample(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("set")
    folder.type = tarfile.DIRTYPE
    jpg, labels = members(sample("set/a"))
    entries = [(folder, b""), ("set/._a.jpg", b"mac"), jpg, ("set/._a.data.pyd", b"mac"), labels]
    photos, rejections = read(write_tar(tmp_path / "d" / "s.tar", entries))
    assert [p.key for p in photos] == ["set/a"]
    assert reasons(rejections) == [(None, None, R.UNSAFE_NAME)]
    assert "2 members" in rejections[0].detail


def test_an_absurd_declared_size_is_not_read(tmp_path: Path) -> None:
    big = tarfile.TarInfo("a.jpg")
    big.size = 2**40
    path = tmp_path / "d" / "s.tar"
    path.parent.mkdir()
    path.write_bytes(big.tobuf(tarfile.GNU_FORMAT) + photo_bytes())
    photos, rejections = read(path)
    assert photos == []
    assert [r.reason for r in rejections] == [R.TOO_LARGE, R.SHARD_TRUNCATED]


@given(st.text(st.characters(codec="ascii", exclude_characters="\n\r\0"), min_size=1, max_size=30))
def test_names_are_split_as_webdataset_does(name: str) -> None:
    from webdataset.tariterators import base_plus_ext

    key, part = base_plus_ext(name)
    assert split_name(name) == ((name, "") if key is None or part is None else (key, part.lower()))


# --- samples ---


def test_a_photo_is_never_paired_with_its_neighbours_labels(tmp_path: Path) -> None:
    a, b = members(sample("a")), members(sample("b", seed=1))
    photos, rejections = read(write_tar(tmp_path / "d" / "s.tar", [a[0], b[0], a[1], b[1]]))
    assert photos == []
    assert reasons(rejections) == [
        ("a", None, R.MISSING_LABELS),
        ("b", None, R.MISSING_LABELS),
        ("a", None, R.DUPLICATE_KEY),
        ("b", None, R.DUPLICATE_KEY),
    ]


def test_members_of_a_sample_may_come_in_any_order(tmp_path: Path) -> None:
    assert [p.key for p in read(write_tar(tmp_path / "d" / "s.tar", reversed(members(sample("a")))))[0]] == ["a"]


def test_labels_without_a_photo(tmp_path: Path) -> None:
    _, rejections = read(write_tar(tmp_path / "d" / "s.tar", [("a.png", b""), members(sample("a"))[1]]))
    assert reasons(rejections) == [("a", None, R.MISSING_PHOTO)]
    assert "png" in rejections[0].detail


@pytest.mark.parametrize("people", [{"0": {}}, None, 3, "text", np.zeros(3)])
def test_labels_that_are_no_list(tmp_path: Path, people: Any) -> None:
    photos, rejections = read(write_tar(tmp_path / "d" / "s.tar", labelled(people)))
    assert photos == []
    assert reasons(rejections) == [("a", None, R.MALFORMED_LABELS)]


def test_too_many_people(tmp_path: Path) -> None:
    _, rejections = read(write_tar(tmp_path / "d" / "s.tar", labelled([{}] * (MAX_PEOPLE + 1))))
    assert reasons(rejections) == [("a", None, R.TOO_LARGE)]


def test_only_the_samples_asked_for(tmp_path: Path) -> None:
    """As if the others were not there: not a word of what is wrong with them, and an end that is no empty shard."""
    broken = [("b.jpg", photo_bytes()), ("b.data.pyd", b"no pickle")]
    path = write_tar(tmp_path / "d" / "s.tar", [*members(sample("a")), *broken, *members(sample("c"))])
    info = list_shards(str(path))[0]
    assert [getattr(item, "key", None) for item in read_shard(info, keys={"c", "nosuch"})] == ["c"]
    assert list(read_shard(info, keys=set())) == []
    assert [item.key for item in read_shard(info, keys={"a", "b", "c"})] == [item.key for item in read_shard(info)]


def test_a_damaged_photo_is_left_to_the_caller_who_says_so(tmp_path: Path) -> None:
    jpeg = photo_bytes()[:-200]
    path = write_tar(tmp_path / "d" / "s.tar", [("a.jpg", jpeg), members(sample("a"))[1]])
    info = list_shards(str(path))[0]
    assert reasons(item for item in read_shard(info) if isinstance(item, Rejection)) == [
        ("a", None, R.UNDECODABLE_PHOTO)
    ]
    (photo,) = read_shard(info, check_photos=False)
    assert isinstance(photo, Photo)
    assert (photo.jpeg, photo.width, photo.height) == (jpeg, 96, 64)
    header_gone = write_tar(tmp_path / "d" / "t.tar", [("a.jpg", b"\xff\xd8\xff"), members(sample("a"))[1]])
    (rejection,) = read_shard(list_shards(str(header_gone))[0], check_photos=False)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == R.UNDECODABLE_PHOTO


def test_a_shard_that_changed_after_listing_is_not_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "d" / "s.tar", members(sample("a")))
    info = list_shards(str(path))[0]
    write_tar(path, members(sample("a")) + members(sample("b")))
    (rejection,) = read_shard(info)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == R.SHARD_UNREADABLE
    assert "changed" in rejection.detail
    path.unlink()
    assert [r.reason for r in read_shard(info) if isinstance(r, Rejection)] == [R.SHARD_UNREADABLE]


# --- people ---


def test_positions_are_never_renumbered(tmp_path: Path) -> None:
    photo, rejections = read_people(tmp_path, person(0), person(1, scale=None), person(2))
    assert [p.id for p in photo.people] == [("d", "s", "a", 0), ("d", "s", "a", 2)]
    assert reasons(rejections) == [("a", 1, R.BAD_BOX)]


NAN, INF = np.nan, np.inf
LAUGHS: list[Any] = [0.0, 1.0, 1.0]
for _ in range(40):
    LAUGHS = [LAUGHS] * 10  # 10^40 numbers when anything walks it


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": np.array([NAN, 1.0])}, R.BAD_BOX),
        ({"scale": np.array([0.019, 0.001])}, R.BAD_BOX),  # 3.8 px
        ({"scale": np.array([9.61, 1.0])}, R.BAD_BOX),  # 20 times 96 px are 1920 px
        ({"scale": np.array([-1.0, -1.0])}, R.BAD_BOX),
        ({"scale": None}, R.BAD_BOX),
        ({"scale": np.zeros(3)}, R.WRONG_SHAPE),
        ({"scale": "2"}, R.MALFORMED_LABELS),
        ({"center": np.array([INF, 0])}, R.BAD_BOX),
        ({"center": np.array([1e30, 0])}, R.BAD_BOX),
        ({"center": np.array([1e300, 0])}, R.BAD_BOX),  # infinite as float32
        ({"center": np.zeros(3)}, R.WRONG_SHAPE),
        ({"keypoints_2d": np.zeros((17, 3))}, R.WRONG_SHAPE),
        ({"keypoints_2d": np.zeros((44, 2))}, R.WRONG_SHAPE),
        ({"keypoints_2d": np.zeros((1, 44, 3))}, R.WRONG_SHAPE),
        ({"keypoints_2d": None}, R.MALFORMED_LABELS),
        ({"keypoints_2d": [[0.0, 0.0, 0.0]] * 44}, R.MALFORMED_LABELS),
        ({"keypoints_2d": LAUGHS}, R.MALFORMED_LABELS),
        ({"keypoints_2d": np.full((44, 3), "1")}, R.MALFORMED_LABELS),
        ({"keypoints_2d": np.full((44, 3), None)}, R.MALFORMED_LABELS),
        ({"keypoints_3d": np.zeros((44, 3))}, R.WRONG_SHAPE),
        ({"body_pose": np.zeros(69)}, R.WRONG_SHAPE),
        ({"body_pose": None}, R.MALFORMED_LABELS),
        ({"betas": np.zeros(16)}, R.WRONG_SHAPE),
        ({"has_body_pose": np.zeros(2)}, R.WRONG_SHAPE),
        ({"has_body_pose": "yes"}, R.MALFORMED_LABELS),
        ({"has_body_pose": 10**400}, R.MALFORMED_LABELS),
        ({"extra_info": [1]}, R.MALFORMED_LABELS),
        ({"extra_info": {"track_id": "t", "frame": "first"}}, R.MALFORMED_LABELS),
        ({"extra_info": {"track_id": "t", "frame": NAN}}, R.MALFORMED_LABELS),
        ({"extra_info": {"track_id": "\udcff", "frame": 1}}, R.MALFORMED_LABELS),
        ({"extra_info": {"track_id": LAUGHS, "frame": 1}}, R.MALFORMED_LABELS),
    ],
)
def test_a_person_that_is_dropped(tmp_path: Path, changes: dict[str, Any], reason: RejectionReason) -> None:
    photo, rejections = read_people(tmp_path, person(**changes), person(5))
    assert [p.id.person for p in photo.people] == [1]
    assert reasons(rejections) == [("a", 0, reason)]
    assert next(iter(changes)) in rejections[0].detail or "crop side" in rejections[0].detail


@pytest.mark.parametrize("record", [None, 3, "text", [], np.zeros(3)])
def test_an_entry_that_is_no_dict(tmp_path: Path, record: Any) -> None:
    assert reasons(read_people(tmp_path, record)[1]) == [("a", 0, R.MALFORMED_LABELS)]


@pytest.mark.parametrize("flag", [1, True, 1.0, np.float32(1), np.array(1), np.array([1.0]), np.bool_(True), 0.5])
def test_flags_that_say_yes(tmp_path: Path, flag: Any) -> None:
    smpl = read_people(tmp_path, person(has_body_pose=flag, has_betas=flag))[0].people[0].smpl
    assert smpl is not None
    np.testing.assert_array_equal(smpl.pose.reshape(72), person()["body_pose"])
    np.testing.assert_array_equal(smpl.betas, person()["betas"])


@pytest.mark.parametrize("flag", [0, False, 0.0, np.float64(0), np.array(0), np.array(False), None, -1])
def test_flags_that_say_no(tmp_path: Path, flag: Any) -> None:
    assert read_people(tmp_path, person(has_body_pose=flag))[0].people[0].smpl is None
    smpl = read_people(tmp_path, person(has_betas=flag))[0].people[0].smpl
    assert smpl is not None  # a pose without betas is a label
    assert not smpl.betas.any()


def test_types_are_cast(tmp_path: Path) -> None:
    changes = {name: person()[name].astype(np.float64) for name in ("keypoints_2d", "keypoints_3d", "center", "betas")}
    changes |= {"body_pose": person()["body_pose"].reshape(24, 3).astype(">f8"), "scale": np.float64(0.3)}
    p = read_people(tmp_path, person(**changes))[0].people[0]
    assert p.smpl is not None
    arrays = (p.keypoints_2d, p.keypoints_3d, p.center, p.smpl.pose, p.smpl.betas)
    assert [a.dtype for a in arrays] == [np.dtype(np.float32)] * 5
    assert [a.shape for a in arrays] == [(44, 3), (44, 4), (2,), (24, 3), (10,)]
    assert p.side == pytest.approx(60)
    np.testing.assert_array_equal(p.smpl.pose.reshape(72), person()["body_pose"])


def test_missing_keypoints_3d_are_zeros(tmp_path: Path) -> None:
    record = person()
    del record["keypoints_3d"]
    p = read_people(tmp_path, record)[0].people[0]
    assert p.keypoints_3d.shape == (44, 4)
    assert not p.keypoints_3d.any()


@pytest.mark.parametrize("name", ["body_pose", "betas", "has_body_pose"])
def test_an_smpl_label_that_is_not_finite_is_dropped_alone(tmp_path: Path, name: str) -> None:
    photo, rejections = read_people(tmp_path, person(**{name: person()[name] * np.nan}))
    assert photo.people[0].smpl is None
    assert reasons(rejections) == [("a", 0, R.SMPL_NOT_FINITE)]


def test_points_in_3d_that_are_not_finite(tmp_path: Path) -> None:
    record = person()
    record["keypoints_3d"] = record["keypoints_3d"].astype(np.float64)
    record["keypoints_3d"][3, 1] = 1e300  # infinite as float32
    photo, rejections = read_people(tmp_path, record)
    assert not photo.people[0].keypoints_3d[3].any()
    assert photo.people[0].keypoints_3d[4].any()
    assert reasons(rejections) == [("a", 0, R.KEYPOINTS_NOT_FINITE)]


@pytest.mark.parametrize(
    ("extra", "track"),
    [
        ({}, None),
        ({"track_id": 3}, None),
        ({"frame": 3}, None),
        ({"track_id": 3, "frame": 7}, ("3", 7)),
        ({"track_id": "clip/3", "frame": np.float32(7)}, ("clip/3", 7)),
        ({"track_id": np.array(3), "frame": np.int64(7)}, ("3", 7)),
        (None, None),
    ],
)
def test_track(tmp_path: Path, extra: Any, track: tuple[str, int] | None) -> None:
    assert read_people(tmp_path, person(extra_info=extra))[0].people[0].track == track


@pytest.mark.parametrize("fps", [29.97, 25, np.float32(60), np.array(16.0)])
def test_a_frame_rate(tmp_path: Path, fps: Any) -> None:
    photo, rejections = read_people(tmp_path, person(extra_info={"track_id": "t", "frame": 1, "fps": fps}))
    assert photo.people[0].fps == pytest.approx(float(fps))
    assert photo.people[0].track == ("t", 1)
    assert not rejections


@pytest.mark.parametrize("fps", [NAN, INF, 0, -30.0, 1e9, 10**400, True, "30", LAUGHS, np.zeros(3)])
def test_a_frame_rate_that_cannot_be_costs_the_track_only(tmp_path: Path, fps: Any) -> None:
    photo, rejections = read_people(tmp_path, person(extra_info={"track_id": "t", "frame": 1, "fps": fps}))
    assert (photo.people[0].track, photo.people[0].fps) == (None, None)
    assert reasons(rejections) == [("a", 0, R.BAD_FRAME_RATE)]
    assert "fps" in rejections[0].detail


def test_the_camera_of_the_photo(tmp_path: Path) -> None:
    photo, rejections = read_people(
        tmp_path,
        person(),
        person() | {"focal_px": 80},
        person() | {"focal_px": np.float32(80), "principal_point": np.array([40.0, 30.0]), "distortion": np.zeros(4)},
        person() | {"focal_px": np.array([80.0]), "camera_source": "exif"},
    )
    assert not rejections
    none, centred, whole, stated = (who.lens for who in photo.people)
    assert none is None
    assert centred is not None
    assert (centred.focal_px, centred.principal_point.tolist()) == (80, [photo.width / 2, photo.height / 2])
    assert centred.source is CameraSource.CALIBRATION
    assert whole is not None
    assert whole.principal_point.tolist() == [40, 30]
    assert stated is not None
    assert stated.source is CameraSource.EXIF


@pytest.mark.parametrize(
    "camera",
    [
        *({"focal_px": focal} for focal in (NAN, INF, 0, -80.0, 1e9, True, "80", LAUGHS, np.zeros(3))),
        {"focal_px": 80, "principal_point": np.zeros(3)},
        {"focal_px": 80, "principal_point": np.array([NAN, 0])},
        {"focal_px": 80, "distortion": np.zeros(5)},
        {"focal_px": 80, "distortion": "none"},
        {"focal_px": 80, "camera_source": "hsmr"},
        {"focal_px": 80, "camera_source": 7},
        {"focal_px": 80, "camera_source": LAUGHS},
    ],
)
def test_a_camera_that_cannot_be_costs_the_camera_only(tmp_path: Path, camera: dict[str, Any]) -> None:
    photo, rejections = read_people(tmp_path, person() | camera)
    assert photo.people[0].lens is None
    assert reasons(rejections) == [("a", 0, R.BAD_CAMERA)]
    assert len(rejections[0].detail) < 300


FIELDS = [
    "keypoints_2d",
    "keypoints_3d",
    "center",
    "scale",
    "body_pose",
    "betas",
    "has_body_pose",
    "has_betas",
    "gender",
]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.floats(), max_size=4),
    st.tuples(st.sampled_from([(), (1,), (2,), (10,), (72,), (44, 3), (44, 4), (0,), (17, 3)]), st.floats()).map(
        lambda t: np.full(*t)
    ),
)


@given(changes=st.dictionaries(st.sampled_from([*FIELDS, "extra_info"]), ANYTHING, min_size=1))
@settings(max_examples=300)
def test_any_field_of_any_type_is_a_person_or_a_rejection(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    photo, rejections = read_people(tmp_path_factory.getbasetemp(), person(**changes))
    assert photo.people or rejections
    for p in photo.people:
        assert np.isfinite([*p.center, p.side, *p.keypoints_2d.ravel(), *p.keypoints_3d.ravel()]).all()
        assert p.smpl is None or np.isfinite([*p.smpl.pose.ravel(), *p.smpl.betas]).all()


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("male", "male"),
        ("F", "female"),
        (b"female", "female"),
        (np.array("m"), "male"),
        (np.array(["Female"]), "female"),
        (np.array([b"male"]), "male"),
        (np.array("female", object), "female"),
        (" male ", "male"),
        ("neutral", None),
        ("", None),
        (None, None),
    ],
)
def test_the_gender_of_a_person_in_its_many_forms(tmp_path: Path, value: object, known: str | None) -> None:
    photo, rejections = read_people(tmp_path, person(gender=value))
    assert photo.people[0].gender == known
    assert not rejections


@pytest.mark.parametrize(
    "value", ["robot", 1, np.nan, np.array(["male", "female"]), ["male"], np.zeros(0), b"\xff", LAUGHS]
)
def test_what_is_no_gender_counts_as_not_known_and_is_recorded(tmp_path: Path, value: object) -> None:
    photo, rejections = read_people(tmp_path, person(gender=value))
    assert [who.gender for who in photo.people] == [None], "the person is kept"
    assert reasons(rejections) == [("a", 0, R.BAD_GENDER)]
    assert "gender: " in rejections[0].detail
    assert "expected" in rejections[0].detail
    assert len(rejections[0].detail) < 300


def test_a_gender_that_is_written_is_read(tmp_path: Path) -> None:
    record = person_record(keypoints_2d=np.zeros((44, 3)), center=(48, 32), scale=(0.2, 0.3), gender="female")
    photo, rejections = read_people(tmp_path, record, person())
    assert [who.gender for who in photo.people] == ["female", None]
    assert not rejections
