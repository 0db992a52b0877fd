"""HSMR: a person crop to SKEL pose, shape and camera (Xia et al., CVPR 2025; docs/training.md)."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.body.representation import q_to_rotations, representation_to_q
from pipeline.fit.starts.mean_pose import mean_parameters
from schemas.skel import N_BETAS, N_JOINTS
from trainer.network.backbone import make_backbone
from trainer.network.camera_head import camera_translation
from trainer.network.camera_token import CameraToken, CropCameras
from trainer.network.decoder import Query, TokenDecoder
from trainer.network.estimates import Estimates
from trainer.network.spread_head import SpreadHead
from trainer.network.variants import NetworkConfig
from trainer.network.vit import Patches, Tokens

_DECODER_GAIN: Final = 0.01  # a new network starts at the mean pose
_PARTS: Final = (6 * N_JOINTS, N_BETAS, 3)  # pose, shape, camera: what a layer corrects


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
        self.backbone = make_backbone(config.backbone, recompute=recompute)
        self.head = SkelHead(config)

    def forward(self, patches: Patches, cameras: CropCameras | None = None) -> HsmrOutput:
        """patches: normalised crops, see `trainer.network.crop_input.normalise`; cameras: theirs, which a network of
        camera=full needs and one of camera=crop does not look at. Raises ValueError for a `full` one without.
        """
        return self.head(self.backbone(patches), cameras)

    def estimates(self, tokens: Tokens, cameras: CropCameras | None = None) -> Estimates[HsmrOutput]:
        """Of what the backbone sees, as `forward`: the last is what the network predicts."""
        return self.head.every_layer(tokens, cameras)

    def apart(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The weights that make the estimate, and those of the spread head, which are trained beside them."""
        spread = [] if self.head.spread is None else list(self.head.spread.parameters())
        own = {id(weight) for weight in spread}
        return [weight for weight in self.parameters() if id(weight) not in own], spread


class SkelHead(nn.Module):
    """Image tokens to SKEL parameters: the decoders' outputs are added to HSMR's mean parameters.

    With refine_layers, those of the last layer are added to what the layers before have found (SKEL-CF, arXiv
    2511.20157): their decoders start at zero, so that a released network starts unchanged.
    """

    init_poses: Float[Tensor, "1 144"]
    init_betas: Float[Tensor, "1 10"]
    init_cam: Float[Tensor, "1 3"]

    def __init__(self, config: NetworkConfig):
        super().__init__()
        dim = config.decoder.dim
        self.transformer = TokenDecoder(config.decoder, config.backbone.dim)
        self.poses_decoder = small_linear(dim, 6 * N_JOINTS)
        self.betas_decoder = small_linear(dim, N_BETAS)
        self.cam_decoder = small_linear(dim, 3)
        mean = mean_parameters()
        self.register_buffer("init_poses", mean.representation.reshape(1, -1))
        self.register_buffer("init_betas", mean.betas[None])
        self.register_buffer("init_cam", mean.cam[None])
        self.camera_token = CameraToken(dim) if config.camera == "full" else None
        early = config.decoder.depth - 1 if config.refine_layers else 0
        self.early_decoders = nn.ModuleList(_zero_linear(dim, sum(_PARTS)) for _ in range(early))
        self.spread = SpreadHead(dim) if config.uncertainty == "head" else None

    def forward(self, tokens: Tokens, cameras: CropCameras | None = None) -> HsmrOutput:
        return self._estimates(tokens, cameras, last_alone=True).layers[-1]

    def every_layer(self, tokens: Tokens, cameras: CropCameras | None = None) -> Estimates[HsmrOutput]:
        """The last estimate is that of `forward`."""
        return self._estimates(tokens, cameras, last_alone=False)

    def _estimates(self, tokens: Tokens, cameras: CropCameras | None, *, last_alone: bool) -> Estimates[HsmrOutput]:
        told, focal = self._told(cameras)
        states = self.transformer.every_layer(tokens, told)
        with torch.autocast(tokens.device.type, enabled=False):
            states = [state.to(self.init_poses.dtype) for state in states]
            mean = _Parameters(self.init_poses, self.init_betas, self.init_cam)
            found = [mean]
            for decoder, state in zip(self.early_decoders, states, strict=False):
                found.append(found[-1].plus(*decoder(state).split(_PARTS, -1)))
            last = states[-1]
            decoders = self.poses_decoder, self.betas_decoder, self.cam_decoder
            found.append(found[-1].plus(*(decode(last) for decode in decoders)))
            layers = tuple(_output(one, focal) for one in (found[-1:] if last_alone else found[1:]))
            return Estimates(layers, None if self.spread is None else self.spread(last))

    def _told(self, cameras: CropCameras | None) -> tuple[Query | None, Float[Tensor, "B"] | None]:
        """What is added to the query, and the focal lengths; None for both in a network that knows HSMR's camera."""
        if self.camera_token is None:
            return None, None
        if cameras is None:
            raise ValueError("A network of camera=full must be told the crops' cameras.")
        return self.camera_token(cameras), cameras.focal


class _Parameters(NamedTuple):
    """An estimate before it becomes a pose: 24 joints' representation in a row, betas, (s, tx, ty)."""

    poses: Float[Tensor, "B 144"]
    betas: Float[Tensor, "B 10"]
    cam: Float[Tensor, "B 3"]

    def plus(self, poses: Tensor, betas: Tensor, cam: Tensor) -> "_Parameters":
        return _Parameters(poses + self.poses, betas + self.betas, cam + self.cam)


def _output(found: _Parameters, focal: Tensor | None) -> HsmrOutput:
    representation = found.poses.unflatten(-1, (N_JOINTS, 6))
    q = representation_to_q(representation)
    return HsmrOutput(
        q=q,
        betas=found.betas,
        cam=found.cam,
        cam_t=camera_translation(found.cam, None if focal is None else focal.to(found.cam)),
        representation=representation,
        rotations=q_to_rotations(q),
    )


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose output starts near zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain=_DECODER_GAIN)
    nn.init.zeros_(layer.bias)
    return layer
