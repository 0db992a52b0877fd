"""Floating-point operations of the networks, counted from their sizes: what speed on a device is measured against.

A multiplication and an addition count as one each. Matrix products only; the rest (norms, GELU, softmax, the body) is
below one per cent of ViT-B and larger.
"""

from typing import Final

from schemas.keypoints import N_KEYPOINTS
from schemas.skel import N_BETAS, N_JOINTS
from trainer.network.backbone import BackboneConfig
from trainer.network.camera_token import N_FEATURES
from trainer.network.keypoint_net import KeypointNetConfig
from trainer.network.variants import NetworkConfig
from trainer.network.vit import N_TOKENS, PATCH_PX, VitConfig

_OUTPUTS: Final = 6 * N_JOINTS + N_BETAS + 3  # pose, shape, camera

BACKWARD: Final = 2
"""A backward pass costs twice the forward pass: one product for the inputs, one for the weights."""


def forward_flops(config: NetworkConfig) -> int:
    """One crop through backbone and head."""
    return _backbone(config.backbone) + _decoder(config) + _options(config)


def training_flops(config: NetworkConfig) -> int:
    """One crop forward and backward. What activation checkpointing computes twice is not counted: it is not useful."""
    return (1 + BACKWARD) * forward_flops(config)


def utilisation(config: NetworkConfig, crops_per_second: float, peak_flops: float, *, training: bool) -> float:
    """Model FLOPs utilisation (Chowdhery et al., PaLM, 2022): useful operations per second over the device's peak."""
    return crops_per_second * (training_flops(config) if training else forward_flops(config)) / peak_flops


def _linear(inputs: int, outputs: int) -> int:
    return 2 * inputs * outputs


def _attention(queries: int, keys: int, width: int) -> int:
    """Scores and weighted values, over all heads."""
    return 2 * (2 * queries * keys * width)


def _backbone(config: BackboneConfig) -> int:
    return _vit(config) if isinstance(config, VitConfig) else _keypoint_net(config)


def _vit(config: VitConfig) -> int:
    dim = config.dim
    block = _linear(dim, 3 * dim) + _linear(dim, dim) + 2 * _linear(dim, config.mlp_ratio * dim)
    block = N_TOKENS * block + _attention(N_TOKENS, N_TOKENS, dim)
    return N_TOKENS * _linear(3 * PATCH_PX**2, dim) + config.depth * block


def _keypoint_net(config: KeypointNetConfig) -> int:
    """Convolutions of 3 x 3 on maps of 1/4, 1/8, 1/16 and 1/32 of the crop's pixels, and what makes the tokens."""
    first, second, third, fourth = config.widths
    flops, cells = 0, 64 * N_TOKENS  # of the picture that it sees: 128 x 96
    for inputs, outputs, blocks in ((3, first, 0), (first, second, 0), (second, third, config.blocks),
                                    (third, fourth, config.blocks)):  # fmt: skip
        cells //= 4
        flops += cells * (_linear(9 * inputs, outputs) + 2 * blocks * _linear(9 * outputs, outputs))
    maps = N_TOKENS * (_linear(third + fourth, config.dim) + _linear(config.dim, N_KEYPOINTS))
    pooled = _linear(N_TOKENS, N_KEYPOINTS * config.dim) + N_KEYPOINTS * _linear(config.dim, config.dim)
    return flops + maps + pooled


def _options(config: NetworkConfig) -> int:
    """The camera token, and the decoders of the layers before the last."""
    dim = config.decoder.dim
    token = _linear(N_FEATURES, dim) + _linear(dim, dim) if config.camera == "full" else 0
    return token + (config.refine_layers * (config.decoder.depth - 1)) * _linear(dim, _OUTPUTS)


def _decoder(network: NetworkConfig) -> int:
    config, context_dim = network.decoder, network.backbone.dim
    tokens = N_TOKENS if isinstance(network.backbone, VitConfig) else N_KEYPOINTS
    dim, inner = config.dim, config.heads * config.dim_head
    own = _linear(dim, 3 * inner) + _attention(1, 1, inner) + _linear(inner, dim)
    image = tokens * _linear(context_dim, 2 * inner)
    cross = image + _linear(dim, inner) + _attention(1, tokens, inner) + _linear(inner, dim)
    layer = own + cross + 2 * _linear(dim, config.mlp_dim)
    return _linear(1, dim) + config.depth * layer + _linear(dim, _OUTPUTS)
