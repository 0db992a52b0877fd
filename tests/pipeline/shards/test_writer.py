"""What is written is read back unchanged, byte for byte the same each time, and never seen half done."""

import copy
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.shards import RawSample, ShardWriter, person_record, write_shard
from schemas.camera import CameraSource, Lens
from schemas.person import Person, PersonId, SmplLabel
from tests.pipeline.shards.samples import photo_bytes, read, sample
from tests.repository import ROOT

JPEG = photo_bytes()
finite = st.floats(-1e6, 1e6, width=32)


def vectors(*shape: int, elements: st.SearchStrategy[float] = finite) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, shape, elements=elements)


smpl_labels = st.builds(lambda pose, betas: SmplLabel(pose=pose, betas=betas), vectors(24, 3), vectors(10))
lenses = st.builds(
    lambda focal, middle, distortion, source: Lens(
        focal_px=focal, principal_point=middle.astype(float), distortion=distortion.astype(float), source=source
    ),
    st.floats(16, 9000, width=32),
    vectors(2),
    vectors(4),
    st.sampled_from([source for source in CameraSource if source is not CameraSource.HSMR]),
)
people = st.fixed_dictionaries(
    {
        "keypoints_2d": vectors(44, 3),
        "keypoints_3d": vectors(44, 4),
        "center": vectors(2, elements=st.floats(-1900, 1900, width=32)),
        "scale": vectors(2, elements=st.floats(0.03125, 9.5, width=32)),
        "smpl": st.none() | smpl_labels,
        "track": st.none()
        | st.tuples(st.text(st.characters(categories=["L", "N"]), max_size=9), st.integers(0, 10**6)),
        "fps": st.none() | st.floats(1, 1000),
        "lens": st.none() | lenses,
    }
)


@given(crowd=st.lists(people, max_size=3))
@settings(max_examples=50)
def test_reader_of_writer_is_identity(tmp_path_factory: pytest.TempPathFactory, crowd: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.getbasetemp() / "made" / "000000.tar"
    write_shard(str(path), [RawSample(key="set/1", jpeg=JPEG, people=[person_record(**p) for p in crowd])])
    (photo,), rejections = read(path)
    assert rejections == []
    assert (photo.key, photo.jpeg, photo.width, photo.height) == ("set/1", JPEG, 96, 64)
    for index, (back, given_) in enumerate(zip(photo.people, crowd, strict=True)):
        assert back.id == PersonId("made", "000000", "set/1", index)
        assert_person(back, given_)


def assert_person(back: Person, given_: dict[str, Any]) -> None:
    for name in ("keypoints_2d", "keypoints_3d", "center"):
        np.testing.assert_array_equal(getattr(back, name), given_[name])
    assert back.side == 200 * float(np.max(given_["scale"]))
    assert (back.track, back.fps) == (given_["track"], given_["fps"])
    assert (back.smpl is None) == (given_["smpl"] is None)
    if back.smpl is not None:
        np.testing.assert_array_equal(back.smpl.pose, given_["smpl"].pose)
        np.testing.assert_array_equal(back.smpl.betas, given_["smpl"].betas)
    assert (back.lens is None) == (given_["lens"] is None)
    if back.lens is not None:
        assert (back.lens.focal_px, back.lens.source) == (given_["lens"].focal_px, given_["lens"].source)
        np.testing.assert_array_equal(back.lens.principal_point, given_["lens"].principal_point)
        np.testing.assert_array_equal(back.lens.distortion, given_["lens"].distortion)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    samples = [sample(f"set/{i}", n_people=2, seed=i) for i in range(3)]
    write_shard(str(tmp_path / "a.tar"), samples)
    write_shard(str(tmp_path / "b.tar"), copy.deepcopy(samples))  # equal values, other objects
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.tar", "b.tar")}
    assert len(digests) == 1


def test_members_as_in_published_shards(tmp_path: Path) -> None:
    write_shard(str(tmp_path / "a.tar"), [sample("set/1"), sample("set/2")])
    with tarfile.open(tmp_path / "a.tar") as tar:
        infos = tar.getmembers()
    assert [m.name for m in infos] == ["set/1.jpg", "set/1.data.pyd", "set/2.jpg", "set/2.data.pyd"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in infos} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.parametrize("key", ["a", "ü/" + "x" * 150, "a" * 250])
def test_parts_of_any_name_and_order_are_written_as_in_a_plain_tar(tmp_path: Path, key: str) -> None:
    parts = {"z.npz": b"1" * 700, "_a": b"", "jpg": b"3"}
    with ShardWriter(str(tmp_path / "a.tar")) as writer:
        writer.write_parts(key, parts)
    with tarfile.open(tmp_path / "plain.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for part, data in parts.items():
            member = tarfile.TarInfo(f"{key}.{part}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "plain.tar").read_bytes()


def test_reading_shards_needs_neither_torch_nor_webdataset() -> None:
    code = "import sys, pipeline.shards; print({'torch', 'webdataset'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout == b"set()\n"


def test_webdataset_reads_it(tmp_path: Path) -> None:
    write_shard(str(tmp_path / "a.tar"), [sample("set/1", n_people=2)])
    dataset: Any = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode("rgb8")
    (item,) = dataset
    assert item["__key__"] == "set/1"
    assert item["jpg"].shape == (64, 96, 3)
    assert [p["keypoints_2d"].dtype for p in item["data.pyd"]] == [np.dtype(np.float32)] * 2
    assert type(item["data.pyd"][0]["has_body_pose"]) is np.float32


def test_a_failure_leaves_the_old_shard_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(str(path), [sample("set/1")])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="already written"):
        write_shard(str(path), [sample("set/2"), sample("set/2")])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("key", ["", "a/", "a.b", "/a", "../a", "set/1"])
def test_keys_that_would_not_come_back(tmp_path: Path, key: str) -> None:
    with ShardWriter(str(tmp_path / "a.tar")) as writer:
        writer.write(sample("set/1"))
        with pytest.raises(ValueError, match="key"):
            writer.write(sample(key))


def test_shapes_are_checked_when_written() -> None:
    with pytest.raises(ValueError, match=r"\(17, 3\)"):
        person_record(keypoints_2d=np.zeros((17, 3)), center=(0, 0), scale=(1, 1))
