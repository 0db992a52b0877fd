"""People with what is known of their bodies, a batch at a time: predicted by the network, or labels of a round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body import Skel, Smpl
from schemas.camera import CameraSource
from schemas.gender import Gender
from schemas.person import Person, Photo, Rejection, RejectionReason
from schemas.skel import N_BETAS, N_Q
from trainer.inference.posed_person import PosedPerson, PosedSmpl, PosesOfPhotos

_LISTS: Final = ("people", "photos", "camera_source", "genders")
_ARRAYS: Final = ("betas", "cam_t", "focal", "camera_turn", "q", "q_std")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """What SKELify made of N predictions: decision (N,) as in a label generation; kp2d errors (N,) in crop units,
    before and after, each under the camera solved for it, NaN without usable keypoints.
    """

    decision: Sequence[str]
    predicted_kp2d_error: Float[np.ndarray, "N"]
    kp2d_error: Float[np.ndarray, "N"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PosedPeople:
    """N people, each with the photo, whatever body they have; betas (N, 10), cam_t (N, 3) m in the camera of the crop.

    focal (N,) crop units, camera_source (N,), camera_turn (N, 3): the camera that each of them holds for, as in a label
    row.
    """

    people: Sequence[Person]
    photos: Sequence[Photo]
    betas: Float[np.ndarray, "N 10"]
    cam_t: Float[np.ndarray, "N 3"]
    focal: Float[np.ndarray, "N"]
    camera_source: Sequence[CameraSource]
    camera_turn: Float[np.ndarray, "N 3"]

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPeople(PosedPeople):
    """With SKEL's q (N, 46) rad. q_std (N, 46) rad: how far q may be off, 0 where nothing tells. genders (N,): of the
    SKEL bodies.
    """

    q: Float[np.ndarray, "N 46"]
    q_std: Float[np.ndarray, "N 46"]
    genders: Sequence[Gender]
    refinement: Refinement | None = None

    def rows(self, rows: Int[np.ndarray, "M"]) -> Self:
        """The people at these places, before they are refined."""
        lists = {name: [getattr(self, name)[row] for row in rows] for name in _LISTS}
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **lists, **arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmplPeople(PosedPeople):
    """With SMPL's pose (N, 72): 24 axis-angles rad, root first and in the axes of the crop's camera."""

    smpl_pose: Float[np.ndarray, "N 72"]


@dataclass(slots=True)
class PredictionRun:
    """One pass over photos. `rejections` and the counts grow as `batches` is read."""

    source: Iterable[Photo | Rejection]
    poses: PosesOfPhotos
    people_at_once: int = 64
    photos: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    def batches(self) -> Iterator[PosedPeople]:
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

    def _predicted(self, photos: Sequence[Photo]) -> Iterator[PosedPeople]:
        pairs = [(photo, person) for photo in photos for person in photo.people]
        if not pairs:
            return
        kept: list[tuple[Photo, Person, Any]] = []
        for (photo, person), guess in zip(pairs, self.poses.pose(photos), strict=True):
            problem = _problem(guess)
            if problem is not None:
                self.rejections.append(_rejection(person, *problem))
            elif guess is not None:
                kept.append((photo, person, guess))
        if kept:
            yield _stacked_people(*zip(*kept, strict=True))


def _stacked_people(photos: Sequence[Photo], people: Sequence[Person], guesses: Sequence[Any]) -> PosedPeople:
    """A batch of the people, by what their guesses are of."""
    shared: dict[str, Any] = {
        "people": list(people),
        "photos": list(photos),
        "betas": _stacked([g.betas for g in guesses], N_BETAS),
        "cam_t": _stacked([g.cam_t for g in guesses], 3),
        "focal": np.array([g.focal for g in guesses]),
        "camera_source": [g.source for g in guesses],
        "camera_turn": _stacked([g.turn for g in guesses], 3),
    }
    if isinstance(guesses[0], PosedSmpl):
        return SmplPeople(smpl_pose=_stacked([g.pose for g in guesses], 72), **shared)
    q, q_std = (_stacked([getattr(g, name) for g in guesses], N_Q) for name in ("q", "q_std"))
    return PredictedPeople(q=q, q_std=q_std, genders=[g.gender for g in guesses], **shared)


def _problem(guess: PosedPerson | PosedSmpl | None) -> tuple[RejectionReason, str] | None:
    if guess is None:
        return RejectionReason.MISSING_LABELS, "no label in this generation"
    if not all(np.isfinite(part).all() for part in guess[:3]):
        return RejectionReason.PREDICTION_UNUSABLE, "the network's answer holds NaN or infinity"
    if not guess.cam_t[2] > 0:
        return RejectionReason.PREDICTION_UNUSABLE, f"the network puts the person at depth {guess.cam_t[2]:.3g} m"
    return None


def as_tensors(body: Skel | Smpl, *arrays: Float[np.ndarray, "N ..."]) -> tuple[Float[Tensor, "N ..."], ...]:
    """Arrays as the body wants them."""
    return tuple(torch.as_tensor(x).to(device=body.device, dtype=body.dtype) for x in arrays)


def _stacked(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    return np.stack(rows).astype(np.float32).reshape(len(rows), width)


def _rejection(person: Person, reason: RejectionReason, detail: str) -> Rejection:
    dataset, shard, key, index = person.id
    return Rejection(dataset=dataset, shard=shard, key=key, person=index, reason=reason, detail=detail)
