"""The network as a round uses it: photos in, one guess per person out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.image.person_camera import PersonCamera
from pipeline.image.person_view import camera_of, source_of
from pipeline.labelling.predictor import Guess
from schemas.camera import CameraSource
from schemas.person import Person, Photo
from schemas.skel import N_BETAS, N_Q
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.data import plain_patches
from trainer.inference.posed_person import PosedPerson
from trainer.network.camera_token import CropCameras
from trainer.network.crop_input import normalise
from trainer.network.hsmr import Hsmr

UNMEASURED_STD: Final = 0.3  # rad; for checkpoints of others, which do not say how good they are
BETAS_STD: Final = 1.0  # what people differ by
CROPS_AT_ONCE: Final = 256  # a photo's crops go to the network in batches of at most so many


class NetworkPredictor:
    """`pipeline.labelling.predictor.Predictor` by an HSMR network; in bf16 on a GPU, in float32 on a CPU."""

    def __init__(self, network: Hsmr, device: torch.device | str, q_std: Sequence[float] = ()) -> None:
        """q_std: what the checkpoint says of itself; without it UNMEASURED_STD for every q."""
        self._network, self._device = network.eval().to(device), torch.device(device)
        self._told = network.config.camera == "full"
        self._q_std = np.array(q_std or [UNMEASURED_STD] * N_Q, np.float32)

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        """One guess per person, in order, in the camera that the network knows: the person's own, or HSMR's.

        A photo is decoded once for all its people; crops are not augmented.
        """
        return self._guesses(photos, [self._camera(person) for photo in photos for person in photo.people])

    def pose(self, photos: Sequence[Photo]) -> list[PosedPerson]:
        """As `predict`, with the whole camera that each guess holds for."""
        people = [person for photo in photos for person in photo.people]
        told = [self._camera(person) for person in people]
        sources = [source_of(person) if self._told else CameraSource.HSMR for person in people]
        rows = zip(self._guesses(photos, told), told, sources, strict=True)
        return [PosedPerson(g.q, g.betas, g.cam_t, g.focal, camera.turn, source) for g, camera, source in rows]

    def _guesses(self, photos: Sequence[Photo], told: Sequence[PersonCamera]) -> list[Guess]:
        """told: a camera for each person of the photos, in order."""
        crops = [plain_patches(photo, photo.people) for photo in photos if photo.people]
        if not crops:
            return []
        patches = torch.from_numpy(np.concatenate(crops))
        cameras = _stacked(told)
        outputs = [
            self._forward(*part) for part in zip(*(x.split(CROPS_AT_ONCE) for x in (patches, *cameras)), strict=True)
        ]
        q, betas, cam_t = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
        betas_std = np.full(N_BETAS, BETAS_STD, np.float32)
        people = zip(q, betas, cam_t, told, strict=True)
        return [Guess(a, b, place, self._q_std, betas_std, camera.focal) for a, b, place, camera in people]

    def _camera(self, person: Person) -> PersonCamera:
        """The person's own for a network that is told cameras, HSMR's for one that is not."""
        return camera_of(person) if self._told else camera_of(replace(person, lens=None))

    @torch.inference_mode()
    def _forward(self, patches: Tensor, focal: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cameras = CropCameras(focal.to(self._device), ray.to(self._device))
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._device.type == "cuda"):
            found = self._network(normalise(patches.to(self._device)), cameras)
        return found.q.float(), found.betas.float(), found.cam_t.float()


def _stacked(cameras: Sequence[PersonCamera]) -> CropCameras:
    rays = np.stack([camera.ray for camera in cameras])
    return CropCameras(torch.tensor([camera.focal for camera in cameras]).float(), torch.from_numpy(rays).float())


@dataclass(frozen=True, slots=True)
class CheckpointSource:
    """`pipeline.labelling.predictor.PredictorSource`: actors load the file and make sure that it is still the same."""

    uri: str
    digest: str

    def load(self, device: str) -> NetworkPredictor:
        """Raises CheckpointError when the file was replaced since the round was planned, or holds no HSMR network."""
        checkpoint = load_checkpoint(self.uri)
        if checkpoint.digest != self.digest:
            raise CheckpointError(
                f"{self.uri} was replaced: its sha256 is {checkpoint.digest[:12]}, the round was planned with "
                f"{self.digest[:12]}. Start the round again."
            )
        if not isinstance(checkpoint.network, Hsmr):
            raise CheckpointError(f"{self.uri} holds an HMR2.0 network, which predicts SMPL: HSMR is needed.")
        return NetworkPredictor(checkpoint.network, device, () if checkpoint.info is None else checkpoint.info.q_std)
