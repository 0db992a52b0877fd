"""HSMR: a person crop to SKEL pose, shape and camera (Xia et al., CVPR 2025; docs/training.md)."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.body.representation import q_to_rotations, representation_to_q
from pipeline.fit.starts.mean_pose import mean_parameters
from schemas.skel import N_BETAS, N_JOINTS
from trainer.network.camera_head import camera_translation
from trainer.network.decoder import TokenDecoder
from trainer.network.variants import NetworkConfig
from trainer.network.vit import Patches, Tokens, Vit

_DECODER_GAIN: Final = 0.01  # a new network starts at the mean pose


class HsmrOutput(NamedTuple):
    """q (B, 46) rad, betas (B, 10), cam (B, 3) = (s, tx, ty), cam_t (B, 3) m in the crop camera, representation
    (B, 24, 6) and the joint rotations Rp (B, 24, 3, 3) of q, which the parameter losses compare.
    """

    q: Float[Tensor, "B 46"]
    betas: Float[Tensor, "B 10"]
    cam: Float[Tensor, "B 3"]
    cam_t: Float[Tensor, "B 3"]
    representation: Float[Tensor, "B 24 6"]
    rotations: Float[Tensor, "B 24 3 3"]


class Hsmr(nn.Module):
    """The network. State-dict names follow the released checkpoint: `backbone.*`, `head.*`.

    recompute: activation checkpointing in the backbone, for ViT-H. Under bf16 autocast the two transformers run in
    bf16; what follows them (linear decoders, camera, Gram-Schmidt, Euler angles) is always in the weights' dtype.
    """

    def __init__(self, config: NetworkConfig, *, recompute: bool = False):
        super().__init__()
        self.config = config
        self.backbone = Vit(config.vit, recompute=recompute)
        self.head = SkelHead(config)

    def forward(self, patches: Patches) -> HsmrOutput:
        """patches: normalised crops, see `trainer.network.crop_input.normalise`."""
        return self.head(self.backbone(patches))


class SkelHead(nn.Module):
    """Image tokens to SKEL parameters: the decoders' outputs are added to HSMR's mean parameters."""

    init_poses: Float[Tensor, "1 144"]
    init_betas: Float[Tensor, "1 10"]
    init_cam: Float[Tensor, "1 3"]

    def __init__(self, config: NetworkConfig):
        super().__init__()
        dim = config.decoder.dim
        self.transformer = TokenDecoder(config.decoder, config.vit.dim)
        self.poses_decoder = small_linear(dim, 6 * N_JOINTS)
        self.betas_decoder = small_linear(dim, N_BETAS)
        self.cam_decoder = small_linear(dim, 3)
        mean = mean_parameters()
        self.register_buffer("init_poses", mean.representation.reshape(1, -1))
        self.register_buffer("init_betas", mean.betas[None])
        self.register_buffer("init_cam", mean.cam[None])

    def forward(self, tokens: Tokens) -> HsmrOutput:
        token = self.transformer(tokens)
        with torch.autocast(token.device.type, enabled=False):
            token = token.to(self.init_poses.dtype)
            representation = (self.poses_decoder(token) + self.init_poses).unflatten(-1, (N_JOINTS, 6))
            cam = self.cam_decoder(token) + self.init_cam
            q = representation_to_q(representation)
            return HsmrOutput(
                q=q,
                betas=self.betas_decoder(token) + self.init_betas,
                cam=cam,
                cam_t=camera_translation(cam),
                representation=representation,
                rotations=q_to_rotations(q),
            )


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose output starts near zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain=_DECODER_GAIN)
    nn.init.zeros_(layer.bias)
    return layer
