"""The stand-in body that the golden numbers refer to, written in the official file formats for `body.source`."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from pipeline.body import Skel, Smpl, load_skel, load_smpl
from pipeline.body.body_files import stored_matrix
from pipeline.body.official_export import skel_file, smpl_file
from tests.pipeline.body.standin_archive import Archive, read_archive


@pytest.fixture(scope="session")
def standin_folder(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `body.source` wants it."""
    folder = tmp_path_factory.mktemp("standin_body")
    for name, content in official_files(read_archive(golden_dir / "standin_body")).items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    return folder


def official_files(archive: Archive) -> dict[str, object]:
    """Content of each official file of the stand-in."""
    return {
        "skel_male.pkl": {**skel_file(archive), "gender": "male"},
        "SMPL_NEUTRAL.pkl": smpl_file(archive),
        "SMPL_to_J19.pkl": stored_matrix(archive, "SMPL_to_J19").toarray().astype(np.float32),
        "J_regressor_SKEL_mix_MALE.pkl": sparse.csc_matrix(stored_matrix(archive, "J_regressor_SKEL_mix")),
        "J_regressor_SMPL_MALE.pkl": sparse.csc_matrix(stored_matrix(archive, "J_regressor_SMPL")),
    }


@pytest.fixture(scope="session")
def standin_skel(standin_folder: Path) -> Skel:
    """Stand-in SKEL in float64."""
    return load_skel(standin_folder, dtype=torch.float64)


@pytest.fixture(scope="session")
def standin_smpl(standin_folder: Path) -> Smpl:
    """Stand-in SMPL in float64."""
    return load_smpl(standin_folder, dtype=torch.float64)


@pytest.fixture(scope="session")
def open_skel() -> Skel:
    """Open body in float64."""
    return load_skel(dtype=torch.float64)


@pytest.fixture(scope="session")
def open_smpl() -> Smpl:
    """Open SMPL in float64."""
    return load_smpl(dtype=torch.float64)


class Golden:
    """The arrays of one golden file as tensors: floats in the asked dtype, integers as they are."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files}

    def __call__(self, name: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        array = torch.as_tensor(self.arrays[name])
        return array.to(dtype) if array.is_floating_point() else array
