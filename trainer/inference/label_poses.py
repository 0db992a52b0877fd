"""The labels of a published generation in the place of predictions: the same files, from what a round found."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.image.camera import FOCAL
from pipeline.labels import LabelStore, check_genders, read_labels, vectors, with_stated_genders
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER, Gender, GenderChoice
from schemas.input_shard import ShardId
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId, Photo
from schemas.skel import N_Q
from trainer.inference.posed_person import PosedPerson

_NOTHING_TELLS: Final = np.zeros(N_Q, np.float32)
_VECTORS: Final = ("q", "betas", "cam_t", "camera_turn")
_SCALARS: Final = ("focal", "camera_source", "gender")


class LabelPoses:
    """`PosesOfPhotos` by the label rows of one generation; holds those of one shard at a time."""

    def __init__(self, store: LabelStore, round: int, choice: GenderChoice = DEFAULT_GENDER) -> None:
        """choice: of the bodies that will be posed. Raises NoSuchGenerationError, and OtherBodyError where the labels
        are of others.
        """
        check_genders(store.lineage(round), choice)
        self._files, self._choice = store.files(round), choice
        self._shard: ShardId | None = None
        self._labels: dict[PersonId, PosedPerson] = {}

    def pose(self, photos: Sequence[Photo]) -> list[PosedPerson | None]:
        """The label of each person, None without one."""
        return [self._label(person.id) for photo in photos for person in photo.people]

    def _label(self, id: PersonId) -> PosedPerson | None:
        if id.shard_id != self._shard:
            self._shard, self._labels = id.shard_id, self._read(id.shard_id)
        return self._labels.get(id)

    def _read(self, shard: ShardId) -> dict[PersonId, PosedPerson]:
        url = self._files.get(shard)
        if url is None:
            return {}
        table = read_labels(url, (*IDENTITY_COLUMNS, "has_label", *_VECTORS, *_SCALARS))
        table = with_stated_genders(table.filter(table["has_label"]), self._choice)
        ids = zip(*(table[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True)
        vector = [vectors(table[name]) for name in _VECTORS]
        scalar = [table[name].to_pylist() for name in _SCALARS]
        return {PersonId(*id): _posed(*row) for id, *row in zip(ids, *vector, *scalar, strict=True)}


def _posed(
    q: np.ndarray,
    betas: np.ndarray,
    cam_t: np.ndarray,
    turn: np.ndarray,
    focal: float | None,
    source: str | None,
    gender: Gender,
) -> PosedPerson:
    """A focal length or source of null is HSMR's camera."""
    known = FOCAL if focal is None else focal
    return PosedPerson(q, betas, cam_t, known, turn, CameraSource(source or CameraSource.HSMR), _NOTHING_TELLS, gender)
