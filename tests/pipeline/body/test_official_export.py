"""The open body as official files: the same body again here, in `body-models` and in `smplx`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from pipeline.body import BodyFileError, Skel, Smpl, load_skel, load_smpl, official_export
from pipeline.body.official_export import export_official
from pipeline.safe_pickle import load_body_pickle
from schemas.skel import PARENTS
from tests.pipeline.body.poses import poses_within_limits, shapes

SUMMATION_ORDER = 1e-5  # m, between two float32 implementations


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    export_official(folder)
    return folder


@pytest.mark.parametrize("gender", ["male", "female"])
def test_round_trip_is_exact(exported: Path, open_skel: Skel, gender: str) -> None:
    assert load_skel(exported, gender).digest == open_skel.digest


def test_smpl_round_trip_is_exact(exported: Path, open_smpl: Smpl) -> None:
    assert load_smpl(exported).digest == open_smpl.digest


def test_files_in_subfolders_are_found(exported: Path, tmp_path: Path, open_skel: Skel) -> None:
    for name, sub in (
        ("skel_male.pkl", "skel"),
        ("J_regressor_SKEL_mix_MALE.pkl", "skel"),
        ("SMPL_to_J19.pkl", "smpl"),
    ):
        (tmp_path / sub).mkdir(exist_ok=True)
        (tmp_path / sub / name).symlink_to(exported / name)
    assert load_skel(tmp_path).digest == open_skel.digest


def test_format_of_the_skel_file(exported: Path) -> None:
    file = load_body_pickle(exported / "skel_male.pkl")
    assert file["version"] == "1.1.1"
    for name in ("J_regressor", "J_regressor_osim", "skin_weights", "skel_weights", "skel_weights_rigid"):
        assert isinstance(file[name], scipy.sparse.coo_matrix), name
    assert tuple(file["osim_kintree_table"][0, 1:]) == PARENTS[1:]
    for name in ("tpose_transfo", "apose_transfo", "apose_rel_transfo"):
        assert file[name].shape == (24, 4, 4)
    np.testing.assert_allclose(file["skin_weights"].sum(1), 1, atol=1e-6)


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    licensed = tmp_path / "SMPL_NEUTRAL.pkl"
    licensed.write_bytes(b"licensed")
    with pytest.raises(FileExistsError, match=r"SMPL_NEUTRAL\.pkl exists"):
        export_official(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["SMPL_NEUTRAL.pkl"]
    assert licensed.read_bytes() == b"licensed"


def test_command_line(exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["official_export", str(exported)])
    with pytest.raises(SystemExit) as stopped:
        official_export.main()
    assert stopped.value.code == 2
    assert "exists and is not overwritten; export to an empty folder" in capsys.readouterr().err


def test_missing_file_is_named(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "skel_male.pkl").symlink_to(exported / "skel_male.pkl")
    with pytest.raises(BodyFileError, match=r"J_regressor_SKEL_mix_MALE\.pkl is in none of"):
        load_skel(tmp_path)
    with pytest.raises(BodyFileError, match="is not a folder"):
        load_skel(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"body\.gender='neutral' is not one of male, female"):
        load_skel(exported, "neutral")


def test_wrong_file_is_named(tmp_path: Path, exported: Path) -> None:
    for name in ("J_regressor_SKEL_mix_MALE.pkl", "SMPL_to_J19.pkl"):
        (tmp_path / name).symlink_to(exported / name)
    (tmp_path / "skel_male.pkl").symlink_to(exported / "SMPL_NEUTRAL.pkl")
    with pytest.raises(BodyFileError, match=r"skel_male\.pkl has no entry 'osim_kintree_table'"):
        load_skel(tmp_path)


def random_people(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    trans = torch.randn(count, 3, generator=torch.Generator().manual_seed(5))
    return poses_within_limits(count, 6).float(), shapes(count, 7, size=2).float(), trans


def test_body_models_agrees_on_skel(exported: Path) -> None:
    """An independent implementation of SKEL (Apache-2.0)."""
    oracle = pytest.importorskip("body_models.skel.torch").SKEL(model_path=exported / "skel_male.pkl", gender="male")
    q, betas, trans = random_people()
    split = {"body_pose": torch.cat([q[:, :23], q[:, 26:]], 1), "head_pose": q[:, 23:26]}
    where = {"shape": betas, "global_translation": trans}
    ours = load_skel(exported)(q, betas, trans)
    vertices = oracle.forward_vertices(**split, **where)
    assert (ours.skin_vertices - vertices).norm(dim=-1).max() < SUMMATION_ORDER
    bones = oracle.forward_skeleton(**split, **where)
    assert (ours.joints - bones[..., :3, 3]).norm(dim=-1).max() < SUMMATION_ORDER
    assert (ours.bone_transforms.rotations - bones[..., :3, :3]).abs().max() < 1e-5


def test_body_models_agrees_on_smpl(exported: Path) -> None:
    oracle = pytest.importorskip("body_models.smpl.torch").SMPL(model_path=exported / "SMPL_NEUTRAL.pkl")
    pose = 0.7 * torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(8))
    betas = shapes(6, 9, size=2).float()
    vertices = oracle.forward_vertices(pose[:, 1:], pelvis_rotation=pose[:, 0], shape=betas)
    assert (load_smpl(exported)(pose, betas).vertices - vertices).norm(dim=-1).max() < SUMMATION_ORDER


def test_smplx_agrees_on_smpl(exported: Path) -> None:
    smplx = pytest.importorskip("smplx")
    oracle = smplx.SMPL(str(exported / "SMPL_NEUTRAL.pkl"), batch_size=6, dtype=torch.float64)
    pose = 0.7 * torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    betas, transl = shapes(6, 11, size=2), shapes(6, 12)[:, :3]
    theirs = oracle(betas=betas, body_pose=pose[:, 1:].flatten(1), global_orient=pose[:, 0], transl=transl)
    ours = load_smpl(exported, dtype=torch.float64)(pose, betas, transl)
    torch.testing.assert_close(ours.vertices, theirs.vertices, rtol=0, atol=1e-6)  # smplx holds the template in float32
    torch.testing.assert_close(ours.joints, theirs.joints[:, :24], rtol=0, atol=1e-6)
    assert np.array_equal(oracle.faces, load_smpl(exported).faces)
