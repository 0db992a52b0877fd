"""The SKEL bodies that a choice of gender asks for: one for everyone, or both."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.body.body_files import read_skel
from pipeline.body.skel import Skel
from schemas.gender import Gender, GenderChoice, genders_of


def load_skels(
    source: str | Path,
    choice: GenderChoice,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[Gender, Skel]:
    """By gender; `source` as in `load_skel`. Raises BodyFileError."""
    return {gender: Skel(read_skel(source, gender), device=device, dtype=dtype) for gender in genders_of(choice)}


def skels_digest(skels: Mapping[Gender, Skel]) -> str:
    """SHA-256 (hex) of the content: of one body its own digest."""
    digests = [skel.digest for skel in skels.values()]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
