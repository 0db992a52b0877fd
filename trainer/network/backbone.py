"""The backbones by their configurations: a ViT, or the keypoint net of the demo."""

from trainer.network.keypoint_net import KeypointNet, KeypointNetConfig
from trainer.network.vit import Vit, VitConfig

BackboneConfig = VitConfig | KeypointNetConfig
Backbone = Vit | KeypointNet


def make_backbone(config: BackboneConfig, *, recompute: bool = False) -> Backbone:
    """recompute: activation checkpointing, which the keypoint net has no need of."""
    return Vit(config, recompute=recompute) if isinstance(config, VitConfig) else KeypointNet(config)
