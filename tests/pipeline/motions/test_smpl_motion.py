"""Motions are read as AMASS writes them; what is none is refused, by its name."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.motions.errors import MotionFileError
from pipeline.motions.smpl_motion import SmplMotion, read_smpl_motion
from tests.pipeline.motions.amass import FPS, smpl_h, write


def read(path: Path, fps: float | None = None) -> SmplMotion:
    with path.open("rb") as file:
        return read_smpl_motion(file, str(path), fps=fps)


def test_amass(tmp_path: Path) -> None:
    motion, raw = read(write(tmp_path, "walk_poses.npz")), smpl_h()
    np.testing.assert_allclose(motion.pose.reshape(-1, 72)[:, :66], raw["poses"][:, :66], rtol=1e-6)
    assert not motion.pose[:, 22:].any(), "SMPL-H's fingers are not SMPL's hands"
    np.testing.assert_allclose(motion.betas, raw["betas"][:10], rtol=1e-6)
    np.testing.assert_allclose(motion.trans, raw["trans"], rtol=1e-6)
    assert (motion.fps, motion.gender) == (FPS, "female")


def test_smpl_of_72_numbers_keeps_its_hands(tmp_path: Path) -> None:
    poses = np.random.default_rng(0).normal(0, 0.2, (7, 72))
    motion = read(write(tmp_path, "a.npz", poses=poses, trans=np.zeros((7, 3))))
    np.testing.assert_allclose(motion.pose.reshape(7, 72), poses, rtol=1e-6)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [(np.array("male"), "male"), (np.array(b"female"), "female"), (np.array("b'neutral'"), "neutral"), (None, None),
     (np.array("M"), "male"), (np.array(["female"]), "female"), (np.array("male", object), "male")],
)  # fmt: skip
def test_genders(tmp_path: Path, written: Any, read_as: str | None) -> None:
    assert read(write(tmp_path, "a.npz", gender=written)).gender == read_as


def test_the_other_name_of_the_rate_and_a_given_one(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.npz", mocap_framerate=None, mocap_frame_rate=np.array(100))).fps == 100
    assert read(write(tmp_path, "b.npz", mocap_framerate=None), fps=25).fps == 25
    assert read(write(tmp_path, "c.npz"), fps=25).fps == FPS, "the file's own counts"


def test_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({**smpl_h(), "gender": "male", "mocap_framerate": 120}, protocol=2))
    motion = read(path)
    assert (motion.fps, motion.gender, len(motion.pose)) == (120, "male", 10)


def test_betas_of_every_frame_are_one_shape(tmp_path: Path) -> None:
    same = np.tile(smpl_h()["betas"], (10, 1))
    assert read(write(tmp_path, "a.npz", betas=same)).betas.shape == (10,)
    same[3] += 0.1
    with pytest.raises(MotionFileError, match=r"betas of .*a.npz has shape \(10, 16\)"):
        read(write(tmp_path, "a.npz", betas=same))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": None}, "has no poses"),
        ({"poses": np.zeros((10, 165))}, r"shape \(10, 165\).*SMPL-X"),
        ({"poses": np.zeros((10, 52, 3))}, r"shape \(10, 52, 3\)"),
        ({"poses": np.zeros((0, 156))}, r"shape \(0, 156\)"),
        ({"poses": np.array(["a"] * 10)}, "poses of .* is an array of <U1"),
        ({"poses": np.full((10, 156), np.nan)}, "NaN or infinity"),
        ({"trans": np.zeros((9, 3))}, r"trans of .* has shape \(9, 3\): \(10, 3\) expected"),
        ({"betas": np.zeros(4)}, r"betas of .* has shape \(4,\)"),
        ({"gender": np.array("cat")}, "gender of .* is 'cat'"),
        ({"mocap_framerate": None}, "names no frame rate .*--fps"),
        ({"mocap_framerate": np.array(0.0)}, "mocap_framerate of .* 1 to 1000"),
        ({"mocap_framerate": np.array("fast")}, "mocap_framerate of .* 1 to 1000"),
    ],
)
def test_what_is_no_motion_says_why(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MotionFileError, match=message):
        read(write(tmp_path, "a.npz", **changes))


def test_hostile_and_broken_files_run_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"poses": Evil()}))
    with pytest.raises(MotionFileError, match="can be read safely"):
        read(path)
    assert not (tmp_path / "ran").exists()
    whole = write(tmp_path, "b.npz").read_bytes()
    for data in (b"", b"PK", whole[:200], pickle.dumps([1, 2])):
        path.write_bytes(data)
        with pytest.raises(MotionFileError, match=r"a\.pkl"):
            read(path)


def test_every_nth_frame() -> None:
    motion = SmplMotion(
        pose=np.zeros((7, 24, 3), np.float32),
        trans=np.arange(21, dtype=np.float32).reshape(7, 3),
        betas=np.zeros(10, np.float32),
        fps=60.0,
        gender=None,
    )
    fewer = motion.every(3)
    assert fewer.fps == 20
    np.testing.assert_array_equal(fewer.trans[:, 0], [0, 9, 18])
