"""One pass over a shard: the people of the label rows asked for, each as a sample or as lost, with the reason."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from pipeline.shards import read_shard
from schemas.person import REPAIRS, Person, PersonId, Photo, Rejection, RejectionReason
from trainer.data.decode import DamagedPhotoError
from trainer.data.join import NOT_IN_SHARD, LabelRow, ShardLabels
from trainer.data.label_index import LabelledShard
from trainer.data.label_use import LabelUse
from trainer.data.sample import AugmentationOf, Sample, cut_people

logger = logging.getLogger(__name__)

_OF_WHOLE_SHARD = (
    RejectionReason.SHARD_UNREADABLE,
    RejectionReason.SHARD_TRUNCATED,
    RejectionReason.SHARD_EMPTY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPerson:
    """A label row and the sample of its person; sample None: lost, and why. `row` numbers the row in its label file."""

    row: int
    id: PersonId
    label: LabelRow
    sample: Sample | None
    lost: str | None = None


class ShardWalk:
    """Iterating reads the shard once, in file order, and gives each of `rows` exactly once. Memory: one photo.

    Raises nothing for what is wrong with the shard: its people are lost, and logged. A label file that cannot be read
    is an error. count_strangers: `without_row` counts the people met whom the generation does not know; that needs the
    whole shard, where otherwise reading stops with the last of `rows`.
    """

    def __init__(
        self,
        shard: LabelledShard,
        rows: Int32[np.ndarray, "N"],
        augmentation_of: AugmentationOf,
        use: LabelUse,
        *,
        count_strangers: bool,
    ) -> None:
        self.without_row = 0
        self._shard = shard
        self._rows = rows
        self._augmentation_of = augmentation_of
        self._use = use
        self._count_strangers = count_strangers
        self._lost: Counter[str] = Counter()

    def __iter__(self) -> Iterator[JoinedPerson]:
        labels = ShardLabels(self._shard.label_file, self._use.pseudo_labels.max_betas)
        wanted = {int(row) for row in self._rows}
        refused = _Refusals()
        keys = None if self._count_strangers else {labels.identity(row)[0] for row in wanted}
        for item in read_shard(self._shard.source, check_photos=False, keys=keys):
            if isinstance(item, Rejection):
                refused.add(item)
            else:
                yield from self._photo(item, labels, wanted, refused)
            if not wanted and not self._count_strangers:
                break
        for row in sorted(wanted):
            yield self._lose(labels, row, refused.reason(*labels.identity(row)))
        self._report(refused)

    def _photo(
        self, photo: Photo, labels: ShardLabels, wanted: set[int], refused: "_Refusals"
    ) -> Iterator[JoinedPerson]:
        found: list[tuple[int, Person]] = []
        for person in map(self._use.seen, photo.people):
            row = labels.row_of(person.id)
            self.without_row += row is None and self._count_strangers
            if row is not None and row in wanted:
                wanted.remove(row)
                lost = self._use.why_lost(person, labels[row])
                if lost is None:
                    found.append((row, person))
                else:
                    yield self._lose(labels, row, lost)
        if not found:
            return
        try:
            samples = cut_people(photo, [person for _, person in found], self._augmentation_of)
        except DamagedPhotoError as error:
            refused.example = refused.example or f"{photo.key}: {error}"
            for row, _ in found:
                yield self._lose(labels, row, RejectionReason.UNDECODABLE_PHOTO.value)
            return
        for (row, person), sample in zip(found, samples, strict=True):
            yield JoinedPerson(row=row, id=person.id, label=labels[row], sample=sample)

    def _lose(self, labels: ShardLabels, row: int, reason: str) -> JoinedPerson:
        self._lost[reason] += 1
        source = self._shard.source
        id = PersonId(source.dataset, source.shard, *labels.identity(row))
        return JoinedPerson(row=row, id=id, label=labels[row], sample=None, lost=reason)

    def _report(self, refused: "_Refusals") -> None:
        if self._lost:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self._lost.most_common())
            example = f" ({refused.example})" if refused.example else ""
            logger.warning(
                "%s: %d of %d people lost: %s%s",
                self._shard.source.url, self._lost.total(), len(self._rows), reasons, example,
            )  # fmt: skip


class _Refusals:
    """What the reader refused, to find out why a row's person did not come."""

    def __init__(self) -> None:
        self._of_person: dict[tuple[str | None, int | None], str] = {}
        self.example = ""

    def add(self, rejection: Rejection) -> None:
        of_shard = rejection.key is None
        if rejection.reason in REPAIRS or (of_shard and rejection.reason not in _OF_WHOLE_SHARD):
            return
        self._of_person.setdefault((rejection.key, rejection.person), rejection.reason.value)
        self.example = self.example or f"{rejection.key or 'shard'}: {rejection.detail}"

    def reason(self, key: str, person: int) -> str:
        """The narrowest that is known: of the person, of the photo, of the shard."""
        for scope in ((key, person), (key, None), (None, None)):
            if scope in self._of_person:
                return self._of_person[scope]
        return NOT_IN_SHARD
