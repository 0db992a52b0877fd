"""People with what is known of their bodies, a batch at a time: predicted by the network, or labels of a round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.body import Skel
from pipeline.export.photo_camera import (
    PhotoCamera,
    into_photo_camera,
    lens_camera,
    photo_camera,
    turned_translation,
)
from pipeline.image.person_camera import PersonCamera
from schemas.camera import CameraSource
from schemas.person import Person, Photo, Rejection, RejectionReason
from schemas.skel import N_BETAS, N_Q
from trainer.inference.posed_person import PosedPerson, PosesOfPhotos


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """What SKELify made of N predictions: decision (N,) as in a label generation; kp2d errors (N,) in crop units,
    before and after, each under the camera solved for it, NaN without usable keypoints.
    """

    decision: Sequence[str]
    predicted_kp2d_error: Float[np.ndarray, "N"]
    kp2d_error: Float[np.ndarray, "N"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPeople:
    """N people, each with the photo; q (N, 46) rad, betas (N, 10), cam_t (N, 3) m in the camera of the crop.

    q_std (N, 46) rad: how far q may be off, 0 where nothing tells. focal (N,) crop units, camera_source (N,),
    camera_turn (N, 3): the camera that each of them holds for, as in a label row.
    """

    people: Sequence[Person]
    photos: Sequence[Photo]
    q: Float[np.ndarray, "N 46"]
    betas: Float[np.ndarray, "N 10"]
    cam_t: Float[np.ndarray, "N 3"]
    q_std: Float[np.ndarray, "N 46"]
    focal: Float[np.ndarray, "N"]
    camera_source: Sequence[CameraSource]
    camera_turn: Float[np.ndarray, "N 3"]
    refinement: Refinement | None = None

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBodies:
    """Where N bodies are: pelvis (N, 3), joint 0 without translation; photo_cam_t (N, 3), the translation in the camera
    of the whole photo; m, camera axes.

    cameras: that of the whole photo for each body; turn (N, 3, 3): about the pelvis, from the axes in which q holds to
    those of the photo's camera, the identity for a body in HSMR's.
    """

    pelvis: Float[np.ndarray, "N 3"]
    photo_cam_t: Float[np.ndarray, "N 3"]
    cameras: Sequence[PhotoCamera]
    turn: Float[np.ndarray, "N 3 3"]

    def in_photo(self, points: Float[np.ndarray, "K 3"], row: int) -> Float[np.ndarray, "K 3"]:
        """Points (K, 3) m of a body without translation, relative to its pelvis in the axes of the photo's camera."""
        return (points - self.pelvis[row]) @ self.turn[row].T


@dataclass(slots=True)
class PredictionRun:
    """One pass over photos. `rejections` and the counts grow as `batches` is read."""

    source: Iterable[Photo | Rejection]
    poses: PosesOfPhotos
    people_at_once: int = 64
    photos: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    def batches(self) -> Iterator[PredictedPeople]:
        """The people of all photos in order, about `people_at_once` at a time: so many photos are held in memory."""
        waiting: list[Photo] = []
        for item in self.source:
            if isinstance(item, Rejection):
                self.rejections.append(item)
                continue
            self.photos += 1
            waiting.append(item)
            if sum(len(photo.people) for photo in waiting) >= self.people_at_once:
                yield from self._predicted(waiting)
                waiting = []
        yield from self._predicted(waiting)

    def _predicted(self, photos: Sequence[Photo]) -> Iterator[PredictedPeople]:
        pairs = [(photo, person) for photo in photos for person in photo.people]
        if not pairs:
            return
        kept: list[tuple[Photo, Person, PosedPerson]] = []
        for (photo, person), guess in zip(pairs, self.poses.pose(photos), strict=True):
            problem = _problem(guess)
            if problem is not None:
                self.rejections.append(_rejection(person, *problem))
            elif guess is not None:
                kept.append((photo, person, guess))
        if kept:
            guesses = [guess for _, _, guess in kept]
            yield PredictedPeople(
                people=[person for _, person, _ in kept],
                photos=[photo for photo, _, _ in kept],
                q=_stacked([g.q for g in guesses], N_Q),
                betas=_stacked([g.betas for g in guesses], N_BETAS),
                cam_t=_stacked([g.cam_t for g in guesses], 3),
                q_std=_stacked([g.q_std for g in guesses], N_Q),
                focal=np.array([g.focal for g in guesses]),
                camera_source=[g.source for g in guesses],
                camera_turn=_stacked([g.turn for g in guesses], 3),
            )


def _problem(guess: PosedPerson | None) -> tuple[RejectionReason, str] | None:
    if guess is None:
        return RejectionReason.MISSING_LABELS, "no label in this generation"
    if not all(np.isfinite(part).all() for part in (guess.q, guess.betas, guess.cam_t)):
        return RejectionReason.PREDICTION_UNUSABLE, "the network's answer holds NaN or infinity"
    if not guess.cam_t[2] > 0:
        return RejectionReason.PREDICTION_UNUSABLE, f"the network puts the person at depth {guess.cam_t[2]:.3g} m"
    return None


def place_bodies(batch: PredictedPeople, skel: Skel) -> PlacedBodies:
    """The pelvis of each body and its place in the camera of the whole photo."""
    with torch.inference_mode():
        pelvis = skel.joints(*as_tensors(skel, batch.q, batch.betas))[:, 0].double().cpu().numpy()
    center = np.stack([person.center for person in batch.people])
    side = np.array([person.side for person in batch.people])
    size = np.array([(photo.width, photo.height) for photo in batch.photos])
    own = np.array([source is not CameraSource.HSMR for source in batch.camera_source])
    turn = np.tile(np.eye(3), (len(batch), 1, 1))
    turn[own] = Rotation.from_rotvec(batch.camera_turn[own].astype(np.float64)).as_matrix()
    photo_cam_t = into_photo_camera(batch.cam_t, pelvis, center, side, size)
    photo_cam_t[own] = turned_translation(batch.cam_t[own], pelvis[own], turn[own])
    cameras = [
        lens_camera(PersonCamera(batch.focal[row], turn[row]), center[row], side[row])
        if own[row]
        else photo_camera(*size[row])
        for row in range(len(batch))
    ]
    return PlacedBodies(pelvis=pelvis, photo_cam_t=photo_cam_t, cameras=cameras, turn=turn)


def as_tensors(skel: Skel, *arrays: Float[np.ndarray, "N ..."]) -> tuple[Float[Tensor, "N ..."], ...]:
    """Arrays as the body wants them."""
    return tuple(torch.as_tensor(x).to(device=skel.device, dtype=skel.dtype) for x in arrays)


def _stacked(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    return np.stack(rows).astype(np.float32).reshape(len(rows), width)


def _rejection(person: Person, reason: RejectionReason, detail: str) -> Rejection:
    dataset, shard, key, index = person.id
    return Rejection(dataset=dataset, shard=shard, key=key, person=index, reason=reason, detail=detail)
