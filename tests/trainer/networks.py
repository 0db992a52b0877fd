"""The networks of tests/golden and inputs for tests of this folder."""

from pathlib import Path

import torch
from torch import Tensor

from tests.pipeline.body.standin import Golden
from trainer.checkpoint import CheckpointInfo
from trainer.network.decoder import DecoderConfig
from trainer.network.variants import NetworkConfig
from trainer.network.vit import VitConfig


def golden_config(golden: Golden) -> NetworkConfig:
    """The architecture that network.npz names in `arch`."""
    dim, depth, heads, dec_dim, dec_depth, dec_heads, dim_head, mlp_dim = golden("arch").tolist()
    return NetworkConfig(
        backbone=VitConfig(dim=dim, depth=depth, heads=heads),
        decoder=DecoderConfig(dim=dec_dim, depth=dec_depth, heads=dec_heads, dim_head=dim_head, mlp_dim=mlp_dim),
    )


def state_dict(path: Path) -> dict[str, Tensor]:
    """What is under `state_dict` in a checkpoint of the golden folder."""
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


SMALL = NetworkConfig(
    backbone=VitConfig(dim=32, depth=2, heads=2),
    decoder=DecoderConfig(dim=32, depth=2, heads=2, dim_head=8, mlp_dim=32),
)
"""Fast enough for property tests."""


INFO = CheckpointInfo(
    variant="tiny",
    generation_snapshot_id=2**62 + 1,
    round=3,
    step=1200,
    body_digest="b" * 64,
    config="optim:\n  lr: 1e-4\n",
    code_revision="abc123",
)


def crops(count: int, seed: int) -> Tensor:
    """(count, 3, 256, 256) uint8, smooth enough that neighbouring pixels agree."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return (255 * torch.nn.functional.interpolate(coarse, size=256, mode="bilinear")).to(torch.uint8)
