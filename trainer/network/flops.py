"""Floating-point operations of the networks, counted from their sizes: what speed on a device is measured against.

A multiplication and an addition count as one each. Matrix products only; the rest (norms, GELU, softmax, the body) is
below one per cent of ViT-B and larger.
"""

from typing import Final

from schemas.skel import N_BETAS, N_JOINTS
from trainer.network.camera_token import N_FEATURES
from trainer.network.decoder import DecoderConfig
from trainer.network.variants import NetworkConfig
from trainer.network.vit import N_TOKENS, PATCH_PX, VitConfig

_OUTPUTS: Final = 6 * N_JOINTS + N_BETAS + 3  # pose, shape, camera

BACKWARD: Final = 2
"""A backward pass costs twice the forward pass: one product for the inputs, one for the weights."""


def forward_flops(config: NetworkConfig) -> int:
    """One crop through backbone and head."""
    return _vit(config.vit) + _decoder(config.decoder, config.vit.dim) + _options(config)


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


def _vit(config: VitConfig) -> int:
    dim = config.dim
    block = _linear(dim, 3 * dim) + _linear(dim, dim) + 2 * _linear(dim, config.mlp_ratio * dim)
    block = N_TOKENS * block + _attention(N_TOKENS, N_TOKENS, dim)
    return N_TOKENS * _linear(3 * PATCH_PX**2, dim) + config.depth * block


def _options(config: NetworkConfig) -> int:
    """The camera token, and the decoders of the layers before the last."""
    dim = config.decoder.dim
    token = _linear(N_FEATURES, dim) + _linear(dim, dim) if config.camera == "full" else 0
    return token + (config.refine_layers * (config.decoder.depth - 1)) * _linear(dim, _OUTPUTS)


def _decoder(config: DecoderConfig, context_dim: int) -> int:
    dim, inner = config.dim, config.heads * config.dim_head
    own = _linear(dim, 3 * inner) + _attention(1, 1, inner) + _linear(inner, dim)
    image = N_TOKENS * _linear(context_dim, 2 * inner)
    cross = image + _linear(dim, inner) + _attention(1, N_TOKENS, inner) + _linear(inner, dim)
    layer = own + cross + 2 * _linear(dim, config.mlp_dim)
    return _linear(1, dim) + config.depth * layer + _linear(dim, _OUTPUTS)
