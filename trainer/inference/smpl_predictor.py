"""HMR2.0 as predictions use it: photos in, one SMPL body per person out, in HSMR's constant camera."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.image.camera import FOCAL
from schemas.camera import CameraSource
from schemas.person import Photo
from trainer.data import plain_patches
from trainer.inference.posed_person import PosedSmpl
from trainer.network.crop_input import normalise
from trainer.network.hmr2 import Hmr2

CROPS_AT_ONCE: Final = 256  # a photo's crops go to the network in batches of at most so many
NO_TURN: Final = np.zeros(3, np.float32)


class SmplAnswers(NamedTuple):
    """Of N crops: pose (N, 24, 3) axis-angles rad, root first and in camera axes, betas (N, 10), cam_t (N, 3) m."""

    pose: Float32[np.ndarray, "N 24 3"]
    betas: Float32[np.ndarray, "N 10"]
    cam_t: Float32[np.ndarray, "N 3"]


class SmplPredictor:
    """An HMR2.0 network; in bf16 on a GPU, in float32 on a CPU."""

    def __init__(self, network: Hmr2, device: torch.device | str) -> None:
        self._network, self._device = network.eval().to(device), torch.device(device)

    def answers(self, photos: Sequence[Photo]) -> SmplAnswers:
        """Of the people of the first photo in their order, then of those of the next; crops are not augmented."""
        crops = [plain_patches(photo, photo.people) for photo in photos if photo.people]
        patches = torch.from_numpy(np.concatenate(crops) if crops else np.zeros((0, 3, 256, 256), np.uint8))
        found = [self._forward(part) for part in patches.split(CROPS_AT_ONCE)] if len(patches) else []
        return SmplAnswers(
            *(
                np.concatenate([part[i] for part in found]) if found else np.zeros((0, *shape), np.float32)
                for i, shape in enumerate(((24, 3), (10,), (3,)))
            )
        )

    def pose(self, photos: Sequence[Photo]) -> list[PosedSmpl]:
        """One per person, as `answers`."""
        answers = self.answers(photos)
        return [
            PosedSmpl(pose.reshape(72), betas, cam_t, FOCAL, NO_TURN, CameraSource.HSMR)
            for pose, betas, cam_t in zip(*answers, strict=True)
        ]

    @torch.inference_mode()
    def _forward(self, patches: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._device.type == "cuda"):
            found = self._network(normalise(patches.to(self._device)))
        pose = matrix_to_axis_angle(found.rotations.double())
        pose, betas, cam_t = (x.float().cpu().numpy() for x in (pose, found.betas, found.cam_t))
        return pose, betas, cam_t
