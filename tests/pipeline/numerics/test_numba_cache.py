"""The cache of the compiled functions: shared by whoever has the same sources, new when one of them changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT

PROGRAM = """
import numpy as np
from pipeline.fit.solver.compiled_pelvis import product
product(np.eye(3), np.eye(3))
print(sum(product.stats.cache_hits.values()), product._cache.cache_path)
"""


def test_a_copy_shares_the_cache_until_a_source_changes(tmp_path: Path) -> None:
    """As jobs do, whose sources a cluster unpacks into a new folder each time."""
    first, second = _hits(ROOT, tmp_path), _hits(_copy(tmp_path / "copy"), tmp_path)
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1]


@pytest.mark.parametrize(
    "source",
    [  # modules other than the function's own, where numba's cache would not look, and in folders of folders
        "pipeline/body/keypoint_loop.py",
        "pipeline/fit/solver/compiled_terms.py",
        "pipeline/fit/starts/mean_pose.py",
        "pipeline/image/camera.py",
        "pipeline/numerics/levenberg_marquardt.py",
        "schemas/keypoints.py",
    ],
)
def test_a_source_that_changed_is_compiled_anew(source: str, tmp_path: Path) -> None:
    folders = []
    for name in ("before", "after"):
        copy = _copy(tmp_path / name)
        if name == "after":
            (copy / source).write_text((copy / source).read_text() + "\n")
        folders.append(_digest(copy))
    assert folders[0] != folders[1]


def test_the_folder_that_the_user_chose_for_numba_is_taken(tmp_path: Path) -> None:
    assert Path(_hits(ROOT, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))[1]).parent == tmp_path / "chosen"


def _copy(folder: Path) -> Path:
    for package in ("pipeline", "schemas"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _digest(root: Path) -> str:
    """The folder of the compiled functions of the sources at `root`."""
    command = [sys.executable, "-c", "from pipeline.numerics.numba_cache import _digest; print(_digest())"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


def _hits(root: Path, home: Path, **more: str) -> tuple[int, str]:
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "NUMBA_CACHE_DIR": "", "PYTHONPATH": str(root)}
    environment = os.environ | folders | more
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    hits, path = done.stdout.split()
    return int(hits), path
