"""The stand-in body of ../shared/golden: the official file formats, unpacked for `body.source`."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body import Skel, Smpl, load_skel, load_smpl

FILES = ("skel_male.pkl", "SMPL_NEUTRAL.pkl", "SMPL_to_J19.pkl", "J_regressor_SKEL_mix_MALE.pkl")


@pytest.fixture(scope="session")
def standin_folder(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `body.source` wants it."""
    folder = tmp_path_factory.mktemp("standin_body")
    for name in FILES:
        with gzip.open(golden_dir / "standin_body" / f"{name}.gz") as packed, (folder / name).open("wb") as out:
            shutil.copyfileobj(packed, out)
    return folder


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
