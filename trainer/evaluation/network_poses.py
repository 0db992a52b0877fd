"""A network's answer to crops: pose, shape and camera, for HSMR and HMR2.0 alike, in float32 whatever the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.image.camera import FOCAL
from pipeline.image.person_camera import PersonCamera, person_camera
from pipeline.lenses.known_lens import USUAL_FOCAL, centred_lens
from schemas.camera import CameraSource
from trainer.checkpoint import Network
from trainer.network.camera_token import CropCameras
from trainer.network.crop_input import normalise
from trainer.network.hsmr import Hsmr


@dataclass(frozen=True, slots=True)
class NetworkPoses:
    """pose (B, 46) q or (B, 72) SMPL axis-angles, rad; betas (B, 10); cam_t (B, 3) m; float64, on the CPU, in the axes
    of the cameras that the network knows.
    """

    pose: Float[Tensor, "B P"]
    betas: Float[Tensor, "B 10"]
    cam_t: Float[Tensor, "B 3"]

    @property
    def finite(self) -> list[bool]:
        """Of each person, whether there is an answer at all."""
        whole = torch.cat([self.pose, self.betas, self.cam_t], 1).isfinite().all(1)
        return whole.tolist()


def camera_told(
    network: Network, photo_size: tuple[int, int], center: Float[np.ndarray, "2"], side: float
) -> PersonCamera:
    """Which camera the answer holds for: HSMR's constant, or for a network of camera=full, which is told one, the usual
    lens for a photo of this width and height, as evaluation files say nothing of theirs.
    """
    if not isinstance(network, Hsmr) or network.config.camera == "crop":
        return PersonCamera(FOCAL, np.eye(3))
    lens = centred_lens(USUAL_FOCAL * hypot(*photo_size), *photo_size, CameraSource.PRIOR)
    return person_camera(lens, center, side)


@torch.inference_mode()
def network_poses(
    network: Network, patches: UInt8[np.ndarray, "B 3 256 256"], cameras: Sequence[PersonCamera], device: str
) -> NetworkPoses:
    """The answer to B crops. network: in evaluation mode, on the device."""
    inputs = normalise(torch.from_numpy(patches).to(device))
    if isinstance(network, Hsmr):
        rays = torch.from_numpy(np.stack([camera.ray for camera in cameras])).float()
        focal = torch.tensor([camera.focal for camera in cameras]).float()
        found = network(inputs, CropCameras(focal.to(device), rays.to(device)))
        pose = found.q.double()
    else:
        found = network(inputs)
        pose = matrix_to_axis_angle(found.rotations.double()).flatten(1)
    return NetworkPoses(*(x.double().cpu() for x in (pose, found.betas, found.cam_t)))
