"""The bodies that conversion is measured on: the stand-in files in --shared when there, else the open body."""

import gzip
import shutil
import tempfile
from pathlib import Path

import torch

from pipeline.body import Skel, Smpl, load_skel, load_smpl


def conversion_bodies(shared: Path | None) -> tuple[str, Skel, Smpl]:
    """Which bodies, in float64, and their name for the heading."""
    packed = sorted((shared / "golden" / "standin_body").glob("*.pkl.gz")) if shared else []
    if not packed:
        return "open body", load_skel(dtype=torch.float64), load_smpl(dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        for file in packed:
            with gzip.open(file) as source, (Path(folder) / file.stem).open("wb") as out:
                shutil.copyfileobj(source, out)
        skel, smpl = load_skel(folder, dtype=torch.float64), load_smpl(folder, dtype=torch.float64)
    return "stand-in body of golden/", skel, smpl
