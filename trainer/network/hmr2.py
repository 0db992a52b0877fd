"""HMR2.0, the SMPL baseline: the same network with an SMPL head (Goel et al., ICCV 2023)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.body.rotations import rotation_from_6d
from schemas.skel import N_BETAS, N_JOINTS
from trainer.network.backbone import make_backbone
from trainer.network.camera_head import camera_translation
from trainer.network.camera_token import CropCameras
from trainer.network.decoder import TokenDecoder
from trainer.network.estimates import Estimates
from trainer.network.hsmr import small_linear
from trainer.network.variants import NetworkConfig
from trainer.network.vit import Patches, Tokens

_MEAN_CAM = (0.9, 0.0, 0.0)


class Hmr2Output(NamedTuple):
    """rotations (B, 24, 3, 3) of the SMPL joints, root first and in camera axes, betas (B, 10), cam (B, 3) =
    (s, tx, ty), cam_t (B, 3) m, representation (B, 24, 6): the first two COLUMNS of each rotation.
    """

    rotations: Float[Tensor, "B 24 3 3"]
    betas: Float[Tensor, "B 10"]
    cam: Float[Tensor, "B 3"]
    cam_t: Float[Tensor, "B 3"]
    representation: Float[Tensor, "B 24 6"]


class Hmr2(nn.Module):
    """The network. State-dict names follow the released checkpoint: `backbone.*`, `smpl_head.*`."""

    def __init__(self, config: NetworkConfig, *, recompute: bool = False):
        """Raises ValueError for a configuration with HSMR's options."""
        super().__init__()
        if config.camera != "crop" or config.refine_layers or config.uncertainty != "none":
            raise ValueError(f"HMR2.0 has no such options: {config.options}")
        self.config = config
        self.backbone = make_backbone(config.backbone, recompute=recompute)
        self.smpl_head = SmplHead(config)

    def forward(self, patches: Patches) -> Hmr2Output:
        """patches: normalised crops, see `trainer.network.crop_input.normalise`."""
        return self.smpl_head(self.backbone(patches))

    def estimates(self, tokens: Tokens, cameras: CropCameras | None = None) -> Estimates[Hmr2Output]:
        """Of what the backbone sees: one, whose spread nobody knows. cameras are not looked at."""
        return Estimates((self.smpl_head(tokens),), None)

    def apart(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All weights, and none beside them, see `Hsmr.apart`."""
        return list(self.parameters()), []


class SmplHead(nn.Module):
    """Image tokens to SMPL parameters.

    Outputs are added to a mean that a released checkpoint brings along; a new network starts at the upright rest pose,
    since the published mean belongs to the licensed SMPL data.
    """

    init_body_pose: Float[Tensor, "1 144"]
    init_betas: Float[Tensor, "1 10"]
    init_cam: Float[Tensor, "1 3"]

    def __init__(self, config: NetworkConfig):
        super().__init__()
        dim = config.decoder.dim
        self.transformer = TokenDecoder(config.decoder, config.backbone.dim)
        self.decpose = small_linear(dim, 6 * N_JOINTS)
        self.decshape = small_linear(dim, N_BETAS)
        self.deccam = small_linear(dim, 3)
        self.register_buffer("init_body_pose", _upright_rest_pose().reshape(1, -1))
        self.register_buffer("init_betas", torch.zeros(1, N_BETAS))
        self.register_buffer("init_cam", torch.tensor([_MEAN_CAM]))

    def forward(self, tokens: Tokens) -> Hmr2Output:
        token = self.transformer(tokens)
        with torch.autocast(token.device.type, enabled=False):
            token = token.to(self.init_body_pose.dtype)
            representation = (self.decpose(token) + self.init_body_pose).unflatten(-1, (N_JOINTS, 6))
            cam = self.deccam(token) + self.init_cam
            return Hmr2Output(
                rotations=rotation_from_6d(representation).mT,
                betas=self.decshape(token) + self.init_betas,
                cam=cam,
                cam_t=camera_translation(cam),
                representation=representation,
            )


def _upright_rest_pose() -> Float[Tensor, "24 6"]:
    """Identity for every joint, but the root turned by pi about x: image y points down."""
    pose = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(N_JOINTS, 1)
    pose[0, 4] = -1.0
    return pose
