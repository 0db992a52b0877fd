"""The sizes of the network by name (docs/training.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal, get_args

from trainer.network.backbone import BackboneConfig
from trainer.network.decoder import DecoderConfig
from trainer.network.keypoint_net import MINI
from trainer.network.vit import VitConfig

NetworkCamera = Literal["crop", "full"]
NetworkUncertainty = Literal["none", "head"]
NetworkHead = Literal["skel", "smpl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Backbone and head of an HSMR or HMR2.0 network; the options are HSMR's alone.

    camera: `crop` knows HSMR's constant camera, as released; `full` is told each crop's focal length and direction.
    refine_layers: every layer of the decoder corrects the estimate of the one before, and is trained to.
    uncertainty: `head` says how far each prediction may be off (`trainer.network.spread_head`); it changes none.
    """

    backbone: BackboneConfig
    decoder: DecoderConfig
    camera: NetworkCamera = "crop"
    refine_layers: bool = False
    uncertainty: NetworkUncertainty = "none"

    def __post_init__(self) -> None:
        for name, known in (("camera", get_args(NetworkCamera)), ("uncertainty", get_args(NetworkUncertainty))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"network.{name}={value!r}: one of {', '.join(known)} expected.")

    @property
    def options(self) -> str:
        """As a user sets them."""
        told = f"network.camera={self.camera} network.refine_layers={str(self.refine_layers).lower()}"
        return told if self.uncertainty == "none" else f"{told} network.uncertainty={self.uncertainty}"


_HSMR_DECODER = DecoderConfig(dim=1024, depth=6, heads=8, dim_head=64, mlp_dim=1024)

VARIANTS: Final[Mapping[str, NetworkConfig]] = MappingProxyType(
    {
        "tiny": NetworkConfig(
            backbone=VitConfig(dim=128, depth=4, heads=4),
            decoder=DecoderConfig(dim=256, depth=2, heads=4, dim_head=32, mlp_dim=512),
        ),
        "mini": NetworkConfig(
            backbone=MINI,
            decoder=DecoderConfig(dim=256, depth=2, heads=8, dim_head=32, mlp_dim=512),
        ),
        "b": NetworkConfig(backbone=VitConfig(dim=768, depth=12, heads=12), decoder=_HSMR_DECODER),
        "l": NetworkConfig(backbone=VitConfig(dim=1024, depth=24, heads=16), decoder=_HSMR_DECODER),
        "h": NetworkConfig(backbone=VitConfig(dim=1280, depth=32, heads=16), decoder=_HSMR_DECODER),
    }
)
"""tiny: for tests. mini: learns on two CPU cores, in the demo. b, l, h: ViT-B, -L and -H with HSMR's head."""


def variant(name: str) -> NetworkConfig:
    """Raises ValueError, listing the variants, for an unknown name."""
    if name not in VARIANTS:
        near = get_close_matches(name.lower(), VARIANTS, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no network variant {name!r}; there are {', '.join(VARIANTS)}.{hint}")
    return VARIANTS[name]
