"""Evaluation files: what they hold, and how one that is wrong is refused."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.evaluation.made_files import hmr2_fields, moyo_fields
from trainer.evaluation.evaluation_set import EvaluationFileError, EvaluationSet
from trainer.evaluation.hmr2_file import read_hmr2_file
from trainer.evaluation.moyo_file import read_moyo_file
from trainer.evaluation.protocols import PROTOCOLS

N = 5
NAMES = [f"{i}.jpg" for i in range(N)]
RNG = np.random.default_rng(0)
WHOLE = hmr2_fields(
    NAMES,
    body_keypoints_2d=RNG.random((N, 25, 3)),
    extra_keypoints_2d=RNG.random((N, 19, 3)),
    body_keypoints_3d=RNG.random((N, 25, 4)),
    extra_keypoints_3d=RNG.random((N, 19, 4)),
    body_pose=RNG.random((N, 72)),
    betas=RNG.random((N, 10)),
    has_body_pose=np.array([1, 0, 1, 1, 1.0]),
    has_betas=np.array([1, 1, 0, 1, 1.0]),
    extra_info=np.array([{"video": "x"}] * N, object),
)


def write(folder: Path, fields: dict[str, Any]) -> str:
    path = folder / "set.npz"
    arrays: Any = {name: value for name, value in fields.items() if value is not None}
    np.savez(path, **arrays)
    return str(path)


def read(folder: Path, dataset: str = "3dpw", **changes: Any) -> EvaluationSet:
    return read_hmr2_file(write(folder, WHOLE | changes), PROTOCOLS[dataset])


def read_moyo(folder: Path, **changes: Any) -> EvaluationSet:
    return read_moyo_file(write(folder, moyo_fields(NAMES) | changes))


def test_every_field_of_hmr2_arrives(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.images == NAMES
    np.testing.assert_array_equal(found.center, WHOLE["center"])
    np.testing.assert_array_equal(found.size, WHOLE["scale"])
    np.testing.assert_array_equal(found.keypoints_2d[:, :25], WHOLE["body_keypoints_2d"])
    np.testing.assert_array_equal(found.keypoints_2d[:, 25:], WHOLE["extra_keypoints_2d"])
    np.testing.assert_array_equal(found.keypoints_3d[:, :25], WHOLE["body_keypoints_3d"])
    np.testing.assert_array_equal(found.keypoints_3d[:, 25:], WHOLE["extra_keypoints_3d"])
    np.testing.assert_array_equal(found.pose.reshape(N, 72), WHOLE["body_pose"])
    assert found.has_smpl.tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("names", [np.array(NAMES), np.array(NAMES, np.bytes_), np.array(NAMES, object)])
def test_image_names_may_be_bytes_or_text(tmp_path: Path, names: np.ndarray) -> None:
    assert read(tmp_path, imgname=names).images == NAMES


def test_names_of_half_characters_become_readable(tmp_path: Path) -> None:
    assert read(tmp_path, imgname=np.array(["a\ud800.jpg", *NAMES[1:]])).images[0] == "a?.jpg"
    assert read(tmp_path, imgname=np.array([b"a\xff.jpg", *(n.encode() for n in NAMES[1:])])).images[0] == "a\ufffd.jpg"
    beyond = np.full(3 * N, 0x7FFFFFFF, np.uint32).view("U3")
    assert all(name.encode() for name in read(tmp_path, imgname=beyond).images)


@pytest.mark.parametrize("scale", [np.full(N, 130.0), np.full((N, 1), 130, np.float32), np.full((N, 2), 130)])
def test_scale_may_be_one_number(tmp_path: Path, scale: np.ndarray) -> None:
    np.testing.assert_array_equal(read(tmp_path, scale=scale).size, np.full((N, 2), 130.0))


def test_what_is_missing_is_zero(tmp_path: Path) -> None:
    kept = {"imgname", "center", "scale", "extra_keypoints_3d"}
    bare: dict[str, Any] = dict.fromkeys([name for name in WHOLE if name not in kept])
    found = read(tmp_path, **bare)
    assert not found.keypoints_2d.any()
    assert not found.keypoints_3d[:, :25].any()
    assert not found.pose.any()
    assert not found.has_smpl.any()
    bare |= {"body_keypoints_2d": np.ones((N, 25, 3)), "extra_keypoints_3d": None}
    assert not read(tmp_path, "coco", **bare).keypoints_2d[:, 25:].any()


def test_emdb_takes_smpl_in_place_of_keypoints(tmp_path: Path) -> None:
    bare: dict[str, Any] = dict.fromkeys(["body_keypoints_3d", "extra_keypoints_3d", "has_betas", "has_body_pose"])
    assert read(tmp_path, "emdb", **bare).has_smpl.all()
    with pytest.raises(EvaluationFileError, match="nor body_pose and betas in their place"):
        read(tmp_path, "emdb", **(bare | {"betas": None}))


def test_every_field_of_moyo_arrives(tmp_path: Path) -> None:
    fields = moyo_fields(NAMES)
    found = read_moyo(tmp_path)
    assert found.images == NAMES
    np.testing.assert_array_equal(found.size, fields["scales"])
    smpl = fields["smpl"].item()
    np.testing.assert_array_equal(found.pose[:, 0], smpl["global_orient"])
    np.testing.assert_array_equal(found.pose[:, 1:].reshape(N, 69), smpl["body_pose"])
    np.testing.assert_array_equal(found.betas, smpl["betas"])
    shaped = {**smpl, "global_orient": smpl["global_orient"][:, None], "body_pose": smpl["body_pose"].reshape(N, 23, 3)}
    again = read_moyo(tmp_path, smpl=np.array(shaped, object), genders=np.array(["male"] * N))
    np.testing.assert_array_equal(again.pose, found.pose)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgname": None}, "no field 'imgname', only betas, body_keypoints_2d"),
        ({"imgname": np.array("one.jpg")}, "imgname has shape (), expected (N, ...)"),
        ({"imgname": np.array([NAMES])}, "imgname has shape (1, 5), expected (N,), N = 1 people"),
        ({"imgname": np.arange(N)}, "imgname is int64 of shape (5,), text expected"),
        ({"imgname": np.array([1, "a", None, 2, 3], object)}, "imgname is object of shape (5,), text expected"),
        ({"imgname": np.array([], "U5")}, "imgname is empty"),
        ({"center": None}, "no field 'center'"),
        ({"center": np.zeros((N, 3))}, "center has shape (5, 3), expected (N, 2), N = 5 people"),
        ({"center": np.zeros((N - 1, 2))}, "center has shape (4, 2), expected (N, 2), N = 5 people"),
        ({"center": np.array([["a", "b"]] * N)}, "center is <U1 of shape (5, 2), numbers expected"),
        ({"scale": None}, "no field 'scale'"),
        ({"scale": np.ones((N, 3))}, "scale has shape (5, 3), expected (N, 2) or (N, 1) or (N,)"),
        ({"scale": np.float64(1)}, "scale has shape ()"),
        ({"body_keypoints_3d": np.zeros((N, 25, 3))}, "body_keypoints_3d has shape (5, 25, 3), expected (N, 25, 4)"),
        ({"extra_keypoints_3d": np.zeros((N, 25, 4))}, "extra_keypoints_3d has shape (5, 25, 4), expected (N, 19, 4)"),
        ({"extra_keypoints_3d": None}, "no field 'extra_keypoints_3d'"),
        ({"body_keypoints_2d": np.zeros((N, 25, 2))}, "body_keypoints_2d has shape (5, 25, 2), expected (N, 25, 3)"),
        ({"extra_keypoints_2d": np.zeros((N, 44, 3))}, "extra_keypoints_2d has shape (5, 44, 3)"),
        ({"extra_keypoints_2d": np.array([{}] * N, object)}, "extra_keypoints_2d is object of shape (5,), numbers"),
        ({"body_pose": np.zeros((N, 69))}, "body_pose has shape (5, 69), expected (N, 72) or (N, 24, 3)"),
        ({"betas": np.zeros((N, 16))}, "betas has shape (5, 16), expected (N, 10)"),
        ({"has_betas": np.zeros((N, 2))}, "has_betas has shape (5, 2), expected (N,) or (N, 1)"),
        ({"has_body_pose": np.array(["yes"] * N)}, "has_body_pose is <U3 of shape (5,), numbers expected"),
        ({"center": np.zeros((N, 2), complex)}, "center is no array of plain numbers"),
    ],
)
def test_wrong_hmr2_files_name_field_and_shape(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationFileError, match=re.escape(message)) as error:
        read(tmp_path, **changes)
    assert str(tmp_path / "set.npz") in str(error.value)


def test_a_2d_set_needs_2d_keypoints(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFileError, match="neither 'body_keypoints_2d' nor 'extra_keypoints_2d'"):
        read(tmp_path, "lsp", body_keypoints_2d=None, extra_keypoints_2d=None)


def changed_smpl(**changes: Any) -> np.ndarray:
    smpl = moyo_fields(NAMES)["smpl"].item() | changes
    return np.array({name: value for name, value in smpl.items() if value is not None}, object)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_info": None}, "no field 'extra_info'"),
        ({"extra_info": np.array("moyo")}, "extra_info is <U4 of shape (), expected a pickled dict"),
        ({"extra_info": np.array([{}, {}], object)}, "extra_info is object of shape (2,), expected a pickled dict"),
        ({"extra_info": np.array({"name": 1}, object)}, "extra_info has no 'dataset_name', only name"),
        ({"extra_info": np.array({"dataset_name": "emdb"}, object)}, "dataset_name='emdb', expected a MOYO file"),
        ({"img_paths": None}, "no field 'img_paths'"),
        ({"names": None}, "no field 'names'"),
        ({"names": np.array(NAMES[:2])}, "names has shape (2,), expected (N,), N = 5 people"),
        ({"centers": np.zeros((N, 2, 1))}, "centers has shape (5, 2, 1), expected (N, 2)"),
        ({"scales": np.ones(N)}, "scales has shape (5,), expected (N, 2)"),
        ({"scales": None}, "no field 'scales'"),
        ({"genders": np.arange(N)}, "genders is int64 of shape (5,), text expected"),
        ({"smpl": None}, "no field 'smpl'"),
        ({"smpl": np.zeros((N, 72))}, "smpl is float64 of shape (5, 72), expected a pickled dict"),
        ({"smpl": changed_smpl(betas=None)}, "smpl has no 'betas', only body_pose, global_orient"),
        ({"smpl": changed_smpl(body_pose=np.zeros((N, 72)))}, "smpl['body_pose'] has shape (5, 72), expected (N, 69)"),
        ({"smpl": changed_smpl(global_orient=np.zeros((3, 3)))}, "smpl['global_orient'] has shape (3, 3), expected"),
        ({"smpl": changed_smpl(betas=[1.0] * 10)}, "smpl['betas'] is list, numbers expected"),
        ({"smpl": changed_smpl(betas=np.array(["x"] * N))}, "smpl['betas'] is <U1 of shape (5,), numbers expected"),
    ],
)
def test_wrong_moyo_files_name_field_and_shape(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationFileError, match=re.escape(message)):
        read_moyo(tmp_path, **changes)


class Hostile:
    """Whose pickle calls a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("field", ["smpl", "extra_info", "img_paths"])
def test_a_pickle_that_calls_is_refused_and_not_run(tmp_path: Path, field: str) -> None:
    harm = tmp_path / "harm"
    value = {"dataset_name": "moyo", "evil": Hostile(harm)}
    with pytest.raises(EvaluationFileError, match="refused the global"):
        read_moyo(tmp_path, **{field: np.array(value, object)})
    assert not harm.exists()
    with pytest.raises(EvaluationFileError, match="refused the global"):
        read(tmp_path, imgname=np.array([value] * N, object))
    assert not harm.exists()


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with pytest.raises(EvaluationFileError, match="there is no file"):
        read_moyo_file(str(path))
    for content in (b"", b"PK\x03\x04 cut off", pickle.dumps({"imgname": NAMES})):
        path.write_bytes(content)
        for reader in (read_moyo_file, lambda file: read_hmr2_file(file, PROTOCOLS["coco"])):
            with pytest.raises(EvaluationFileError, match="no npz that can be read safely"):
                reader(str(path))


def test_genders_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    words = np.array(["male", "f", "neutral", "", "FEMALE"])
    known = ["male", "female", None, None, "female"]
    path = write(tmp_path, moyo_fields(NAMES) | {"genders": words})
    assert read_moyo_file(path, with_genders=True).genders == known
    assert read_moyo_file(path).genders == [None] * N
    for name in ("gender", "genders"):
        path = write(tmp_path, WHOLE | {name: words.astype("S")})
        assert read_hmr2_file(path, PROTOCOLS["3dpw"], with_genders=True).genders == known
    assert read_hmr2_file(path, PROTOCOLS["3dpw"], with_genders=True).rows([1, 2]).genders == ["female", None]
    words[3] = "cat"
    path = write(tmp_path, WHOLE | {"gender": words})
    assert read_hmr2_file(path, PROTOCOLS["3dpw"]).genders == [None] * N
    with pytest.raises(EvaluationFileError, match=r"set\.npz: gender: 'cat' is no gender: male, female, m, f"):
        read_hmr2_file(path, PROTOCOLS["3dpw"], with_genders=True)
