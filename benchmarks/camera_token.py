"""`camera`: small networks on made-up people through lenses of all lengths, told their cameras or not
(docs/decisions/0021-camera-token.md).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation
from torch import Tensor

from benchmarks.report import Options, say, table
from pipeline.body import Skel, load_skel
from pipeline.body.representation import orientation_to_matrix, turn_pelvis
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.demo_set.poses import sample_bodies
from pipeline.image.camera import FOCAL, at_focal, project
from pipeline.image.crop import CROP_PX
from pipeline.image.person_camera import PersonCamera
from pipeline.numerics.error_metrics import mpjpe_mm, pa_mpjpe_mm
from pipeline.render.rasterizer import PinholeCamera, render
from schemas.person import PersonId
from trainer.data.batch import TrainBatch
from trainer.network.crop_input import normalise
from trainer.network.decoder import DecoderConfig
from trainer.network.hsmr import Hsmr
from trainer.network.networks import EveryLayer
from trainer.network.variants import NetworkConfig
from trainer.network.vit import VitConfig
from trainer.training.losses import LossConfig, training_loss
from trainer.training.trained_body import TrainedSkel

_FOCAL: Final = (0.8, 8.0)  # crop units, log-uniform
_OFF_AXIS_DEG: Final = 35.0
_PLAIN: Final = NetworkConfig(
    backbone=VitConfig(dim=64, depth=3, heads=4),
    decoder=DecoderConfig(dim=128, depth=3, heads=4, dim_head=32, mlp_dim=256),
)
_NETWORKS: Final = {
    "crop": _PLAIN,
    "full": replace(_PLAIN, camera="full"),
    "crop, refine_layers": replace(_PLAIN, refine_layers=True),
    "full, refine_layers": replace(_PLAIN, camera="full", refine_layers=True),
}


@dataclass(frozen=True)
class _People:
    """What a network of camera=full is trained on, and of the same people one of camera=crop; cam_t (N, 3) m."""

    full: TrainBatch
    crop: TrainBatch
    cam_t: Float[Tensor, "N 3"]


def run(options: Options) -> None:
    """Train each network on the same people from the same seeds, and print the errors on people it has not seen."""
    count, held_out, batch, steps, seeds = (6, 4, 2, 1, 1) if options.quick else (1000, 300, 16, 400, 2)
    skel = load_skel()
    training, test = (_people(skel, np.random.default_rng(seed), n) for seed, n in ((0, count), (1, held_out)))
    rows = []
    for name, config in _NETWORKS.items():
        found = [_errors(skel, _trained(skel, config, training, batch, steps, seed), test) for seed in range(seeds)]
        rows.append([name, *(" / ".join(f"{value:.1f}" for value in column) for column in zip(*found, strict=True))])
    table(["network", "orientation deg", "MPJPE mm", "PA-MPJPE mm", "depth %"], rows)
    say(
        f"{count} people, {steps} steps of {batch}; means over {held_out} others, a figure for each seed. Focal "
        f"lengths {_FOCAL[0]} to {_FOCAL[1]} crop sides, up to {_OFF_AXIS_DEG:.0f} degrees off the axis. Depth: "
        "|log ratio|, a crop network's taken to the true focal length as rounds do."
    )


def _people(skel: Skel, rng: np.random.Generator, count: int) -> _People:
    states = sample_bodies(rng, count)
    upright = np.column_stack([np.pi + rng.normal(0, 0.1, count), rng.normal(0, 0.1, count), _heading(rng, count)])
    low, high = np.log(_FOCAL)
    focal = np.exp(rng.uniform(low, high, count))
    off, around = np.deg2rad(rng.uniform(0, _OFF_AXIS_DEG, count)), rng.uniform(0, 2 * np.pi, count)
    turn = Rotation.from_rotvec(np.column_stack([-off * np.sin(around), off * np.cos(around), 0 * off])).as_matrix()
    cameras = [PersonCamera(*pair) for pair in zip(focal.tolist(), turn, strict=True)]
    rotation, betas = torch.from_numpy(turn).float(), torch.from_numpy(states.betas).float()
    standing = np.concatenate([upright, states.q[:, 3:]], 1)
    q = turn_pelvis(torch.from_numpy(standing).float(), rotation.mT)  # upright in the photo, held in the crop's axes
    scale = torch.from_numpy(rng.uniform(0.75, 0.95, count)).float()
    with torch.no_grad():
        points = skel.keypoints(q, betas)
    middle = points[..., :2].mean(1) + torch.from_numpy(rng.normal(0, 0.05, (count, 2))).float()
    lengths = torch.from_numpy(focal).float()
    cam_t = torch.cat([-middle, (2 * lengths / scale)[:, None]], 1)
    patches = [_picture(skel, q[i], betas[i], cam_t[i], cameras[i]) for i in range(count)]
    full = TrainBatch(
        ids=tuple(PersonId("made", "made", str(i), 0) for i in range(count)),
        patches=torch.from_numpy(np.stack(patches)),
        color_scale=torch.ones(count, 3),
        keypoints_2d=_seen(project(points, cam_t, lengths)),
        keypoints_3d=_seen(points),
        q=q,
        q_std=torch.zeros_like(q),
        female=torch.zeros(count, dtype=torch.bool),
        betas=betas,
        has_label=torch.ones(count, dtype=torch.bool),
        joint_weight=torch.ones(count, 24),
        betas_weight=torch.ones(count),
        focal=lengths,
        ray=torch.from_numpy(np.stack([camera.ray for camera in cameras])).float(),
    )
    # The photo's picture, shifted so that the crop's middle is its origin: the affine crop.
    photo = project((points + cam_t[:, None]) @ rotation.mT, torch.zeros(count, 3), lengths)
    affine = photo - (lengths[:, None] * rotation[:, :2, 2] / rotation[:, 2:, 2])[:, None]
    unknown = {"focal": torch.full((count,), FOCAL), "ray": torch.zeros(count, 2)}
    return _People(full, replace(full, keypoints_2d=_seen(affine), **unknown), cam_t)


def _heading(rng: np.random.Generator, count: int) -> Float[np.ndarray, "N"]:
    """Roughly towards the camera: networks this small do not learn all headings in so few steps."""
    return rng.uniform(-0.7, 0.7, count)


def _seen(points: Float[Tensor, "N 44 D"]) -> Float[Tensor, "N 44 D_and_confidence"]:
    return torch.cat([points, torch.ones_like(points[..., :1])], -1)


def _picture(skel: Skel, q: Tensor, betas: Tensor, cam_t: Tensor, camera: PersonCamera) -> UInt8[np.ndarray, "3 H W"]:
    """The crop as it is cut out of the photo."""
    with torch.no_grad():
        skin = (skel(q[None], betas[None]).skin_vertices[0] + cam_t).numpy().astype(np.float64)
    photo = PinholeCamera.of_label(camera, np.full(2, CROP_PX / 2), CROP_PX, CROP_PX, CROP_PX)
    grey = np.full((CROP_PX, CROP_PX, 3), 90, np.uint8)
    drawn = render(skin @ camera.rotation.T, skel.faces.numpy(), (200.0, 180.0, 160.0), photo, background=grey)
    return np.ascontiguousarray(drawn.image.transpose(2, 0, 1))


def _trained(skel: Skel, config: NetworkConfig, people: _People, size: int, steps: int, seed: int) -> Hsmr:
    torch.manual_seed(seed)
    network, order = Hsmr(config), np.random.default_rng(seed)
    told = people.full if config.camera == "full" else people.crop
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    layers = EveryLayer(network.train())
    for _ in range(steps):
        batch = _rows(told, order.integers(0, len(told), size))
        found = layers(normalise(batch.patches), batch.cameras).layers
        loss = training_loss(TrainedSkel(skel), found, batch, LossConfig())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def _rows(batch: TrainBatch, rows: np.ndarray) -> TrainBatch:
    names = [name for name in TrainBatch.__dataclass_fields__ if name != "ids"]
    return replace(batch, ids=tuple(batch.ids[i] for i in rows), **{name: getattr(batch, name)[rows] for name in names})


@torch.no_grad()
def _errors(skel: Skel, network: Hsmr, people: _People) -> tuple[float, float, float, float]:
    truth = people.full
    told = truth if network.config.camera == "full" else people.crop
    found = network(normalise(truth.patches), told.cameras)
    turn = orientation_to_matrix(found.q[:, :3]) @ orientation_to_matrix(truth.q[:, :3]).mT
    joints, true_joints = skel.joints(found.q, found.betas), skel.joints(truth.q, truth.betas)
    depth = at_focal(found.cam_t, told.focal, truth.focal)[:, 2]
    return (
        float(torch.rad2deg(matrix_to_axis_angle(turn).norm(dim=-1)).mean()),
        float(mpjpe_mm(joints, true_joints, root=0).mean()),
        float(pa_mpjpe_mm(joints, true_joints).mean()),
        float(100 * torch.log(depth / people.cam_t[:, 2]).abs().mean()),
    )
