"""Body models: SKEL, SMPL, and the open body that ships with the package."""

from pathlib import Path

import torch

from pipeline.body.body_files import BodyFileError, read_skel, read_smpl
from pipeline.body.skel import Skel, SkelOutput
from pipeline.body.smpl import Smpl, SmplOutput

__all__ = ["BodyFileError", "Skel", "SkelOutput", "Smpl", "SmplOutput", "load_skel", "load_smpl"]


def load_skel(
    source: str | Path = "open",
    gender: str = "male",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Skel:
    """SKEL of the open body (`source="open"`) or of a folder of the official files (see `body_files`).

    Raises BodyFileError naming the missing or malformed file and the fix.
    """
    return Skel(read_skel(source, gender), device=device, dtype=dtype)


def load_smpl(
    source: str | Path = "open",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    gender: str = "neutral",
) -> Smpl:
    """SMPL of the open body or of a folder of the official files, see `body_files`. Raises as `load_skel`."""
    return Smpl(read_smpl(source, gender), device=device, dtype=dtype)
