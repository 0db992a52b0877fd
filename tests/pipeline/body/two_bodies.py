"""A folder of official files whose women have another body: smaller, wider, and of another shape space."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.body.official_export import export_official


def write_two_bodies(folder: Path) -> Path:
    """The open body for men; for women one of 93 % of the height whose betas mean other things."""
    export_official(folder)
    path = folder / "skel_female.pkl"
    body = pickle.loads(path.read_bytes())
    scale = np.array([0.96, 0.93, 0.98])
    for name in ("skin_template_v", "skel_template_v"):
        body[name] = body[name] * scale
    body["shapedirs"] = 0.9 * np.roll(body["shapedirs"], 1, -1)
    path.write_bytes(pickle.dumps(body, 4))
    return folder


@pytest.fixture(scope="session")
def two_bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_bodies(tmp_path_factory.mktemp("two_bodies"))
