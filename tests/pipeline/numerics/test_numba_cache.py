"""The cache of the compiled functions: shared by whoever has the same sources, new when one of them changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import numpy as np
from pipeline.fit.compiled_pelvis import product
product(np.eye(3), np.eye(3))
print(sum(product.stats.cache_hits.values()), product._cache.cache_path)
"""


def test_a_copy_shares_the_cache_until_a_source_changes(tmp_path: Path) -> None:
    """As jobs do, whose sources a cluster unpacks into a new folder each time."""
    first, second = _hits(ROOT, tmp_path), _hits(_copy(tmp_path / "copy"), tmp_path)
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1]
    changed = _copy(tmp_path / "changed")
    kernel = changed / "pipeline/body/keypoint_kernel.py"  # another module's: numba's own cache would not look there
    kernel.write_text(kernel.read_text() + "\n")
    assert _hits(changed, tmp_path)[0] == 0


def test_the_folder_that_the_user_chose_for_numba_is_taken(tmp_path: Path) -> None:
    assert Path(_hits(ROOT, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))[1]).parent == tmp_path / "chosen"


def _copy(folder: Path) -> Path:
    for package in ("pipeline", "schemas"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _hits(root: Path, home: Path, **more: str) -> tuple[int, str]:
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "NUMBA_CACHE_DIR": "", "PYTHONPATH": str(root)}
    environment = os.environ | folders | more
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    hits, path = done.stdout.split()
    return int(hits), path
