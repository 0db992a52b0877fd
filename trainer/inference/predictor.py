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
from pipeline.runtime.config import BodyConfig
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER
from schemas.person import Person, Photo
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.data import plain_patches
from trainer.inference.known_spread import KnownSpread
from trainer.inference.posed_person import PosedPerson
from trainer.inference.smpl_predictor import CROPS_AT_ONCE
from trainer.inference.two_stage import TwoStagePredictor
from trainer.network.camera_token import CropCameras
from trainer.network.crop_input import normalise
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr, HsmrOutput
from trainer.network.networks import EveryLayer
from trainer.network.spread_head import QStd

_OPEN_BODY: Final = BodyConfig()


class NetworkPredictor:
    """`pipeline.labelling.predictor.Predictor` by an HSMR network; in bf16 on a GPU, in float32 on a CPU."""

    def __init__(self, network: Hsmr, device: torch.device | str, spread: KnownSpread | None = None) -> None:
        """spread: what the checkpoint says of its predictions, by default what is assumed of one that says nothing."""
        self._network, self._device = EveryLayer(network.eval().to(device)), torch.device(device)
        self._told = network.config.camera == "full"
        self._spread = KnownSpread.of(None) if spread is None else spread

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        """One guess per person, in order, in the camera that the network knows: the person's own, or HSMR's.

        A photo is decoded once for all its people; crops are not augmented. As evidence: their standard deviations are
        those of what they tell beyond the average person, unless the spread is that of people whom it never saw.
        """
        guesses = self._guesses(photos, [self._camera(person) for photo in photos for person in photo.people])
        if not guesses:
            return []
        q_std, betas_std = self._spread.news(np.stack([guess.q_std for guess in guesses]), self._spread.betas_std)
        return [guess._replace(q_std=own, betas_std=betas_std) for guess, own in zip(guesses, q_std, strict=True)]

    def pose(self, photos: Sequence[Photo]) -> list[PosedPerson]:
        """As `predict`, with the whole camera that each guess holds for; q_std is 0 where only assumed."""
        people = [person for photo in photos for person in photo.people]
        told = [self._camera(person) for person in people]
        sources = [source_of(person) if self._told else CameraSource.HSMR for person in people]
        known = np.float32(self._spread.told)
        genders = [person.gender or DEFAULT_GENDER for person in people]
        rows = zip(self._guesses(photos, told), told, sources, genders, strict=True)
        return [
            PosedPerson(g.q, g.betas, g.cam_t, g.focal, camera.turn, source, g.q_std * known, gender)
            for g, camera, source, gender in rows
        ]

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
        q, betas, cam_t = (
            torch.cat([getattr(found, name).float() for found, _ in outputs]).cpu().numpy()
            for name in ("q", "betas", "cam_t")
        )
        q_std = np.concatenate([self._std(spread, len(found.q)) for found, spread in outputs])
        people = zip(q, betas, cam_t, q_std, told, strict=True)
        return [Guess(a, b, place, std, self._spread.betas_std, camera.focal) for a, b, place, std, camera in people]

    def _std(self, spread: QStd | None, count: int) -> np.ndarray:
        return self._spread.of_people(None if spread is None else spread.cpu().numpy(), count)

    def _camera(self, person: Person) -> PersonCamera:
        """The person's own for a network that is told cameras, HSMR's for one that is not."""
        return camera_of(person) if self._told else camera_of(replace(person, lens=None))

    @torch.inference_mode()
    def _forward(self, patches: Tensor, focal: Tensor, ray: Tensor) -> tuple[HsmrOutput, QStd | None]:
        cameras = CropCameras(focal.to(self._device), ray.to(self._device))
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._device.type == "cuda"):
            found = self._network(normalise(patches.to(self._device)), cameras)
        return found.layers[-1], found.spread


def _stacked(cameras: Sequence[PersonCamera]) -> CropCameras:
    rays = np.stack([camera.ray for camera in cameras])
    return CropCameras(torch.tensor([camera.focal for camera in cameras]).float(), torch.from_numpy(rays).float())


@dataclass(frozen=True, slots=True)
class CheckpointSource:
    """`pipeline.labelling.predictor.PredictorSource`: actors load the file and make sure that it is still the same."""

    uri: str
    digest: str
    body: BodyConfig = _OPEN_BODY  # what the SMPL predictions of an HMR2.0 network are converted to

    def load(self, device: str, *, unseen: bool = False) -> NetworkPredictor | TwoStagePredictor:
        """unseen: it will predict nobody whom it was trained on. Raises CheckpointError when the file was replaced
        since the round was planned, BodyFileError.
        """
        checkpoint = load_checkpoint(self.uri)
        if checkpoint.digest != self.digest:
            raise CheckpointError(
                f"{self.uri} was replaced: its sha256 is {checkpoint.digest[:12]}, the round was planned with "
                f"{self.digest[:12]}. Start the round again."
            )
        if isinstance(checkpoint.network, Hmr2):
            return TwoStagePredictor.of(checkpoint.network, device, self.body)
        spread = KnownSpread.of(checkpoint.info)
        return NetworkPredictor(checkpoint.network, device, spread.of_unseen() if unseen else spread)
