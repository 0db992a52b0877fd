"""The labels of a published generation in the place of predictions: the same files, from what a round found."""

from collections.abc import Sequence

from pipeline.labelling.predictor import Guess
from pipeline.labels import LabelStore, read_labels, vectors
from schemas.input_shard import ShardId
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId, Photo


class LabelPoses:
    """`PosesOfPhotos` by the label rows of one generation; holds those of one shard at a time."""

    def __init__(self, store: LabelStore, round: int) -> None:
        """Raises NoSuchGenerationError."""
        self._files = store.files(round)
        self._shard: ShardId | None = None
        self._labels: dict[PersonId, Guess] = {}

    def predict(self, photos: Sequence[Photo]) -> list[Guess | None]:
        """The label of each person, None without one."""
        return [self._label(person.id) for photo in photos for person in photo.people]

    def _label(self, id: PersonId) -> Guess | None:
        if id.shard_id != self._shard:
            self._shard, self._labels = id.shard_id, self._read(id.shard_id)
        return self._labels.get(id)

    def _read(self, shard: ShardId) -> dict[PersonId, Guess]:
        url = self._files.get(shard)
        if url is None:
            return {}
        table = read_labels(url, ("dataset", "shard", "key", "person", "has_label", "q", "betas", "cam_t"))
        table = table.filter(table["has_label"])
        ids = zip(*(table[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True)
        parts = zip(*(vectors(table[name]) for name in ("q", "betas", "cam_t")), strict=True)
        return {PersonId(*id): Guess(*part) for id, part in zip(ids, parts, strict=True)}
