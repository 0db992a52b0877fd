"""A lane at work: it walks its shards in order, keeps the people read ahead, and gives them in the plan's order."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainer.data.epoch_plan import LanePlan
from trainer.data.join import JoinCounts
from trainer.data.label_index import LabelIndex
from trainer.data.label_use import LabelUse
from trainer.data.sample import AugmentationOfDraw
from trainer.data.shard_walk import JoinedPerson, ShardWalk


class Lane:
    """`take(n)` gives the next n people. What was given before `start` is neither read nor decoded again."""

    def __init__(
        self, plan: LanePlan, index: LabelIndex, augmentation_of: AugmentationOfDraw, use: LabelUse, start: int = 0
    ) -> None:
        self._plan = plan
        self._index = index
        self._augmentation_of = augmentation_of
        self._use = use
        self._next = start
        self._unread = _places_by_run(plan, start)
        self._open: dict[int, _Run] = {}
        self._ahead: dict[int, JoinedPerson] = {}
        self._without_row = 0

    def take(self, count: int) -> tuple[list[JoinedPerson], JoinCounts]:
        """The next `count` people, and what became of their rows."""
        places = self._plan.order[self._next : self._next + count].tolist()
        self._next += count
        people = [self._get(place) for place in places]
        new = [person for person, place in zip(people, places, strict=True) if self._plan.draw[place] == 0]
        counts = JoinCounts(
            used=sum(person.sample is not None for person in new),
            lost=dict(Counter(person.lost for person in new if person.lost is not None)),
            repeated=len(people) - len(new),
            without_row=self._without_row,
        )
        self._without_row = 0
        return people, counts

    def _get(self, place: int) -> JoinedPerson:
        number = int(self._plan.run[place])
        while place not in self._ahead:
            if number not in self._open:
                self._open[number] = self._begin(self._unread.pop(number))
            run = self._open[number]
            self._ahead.update([run.read()])
            if run.done:
                self._without_row += run.finish()
                del self._open[number]
        return self._ahead.pop(place)

    def _begin(self, places: NDArray[np.int64]) -> "_Run":
        walk = ShardWalk(
            self._index.shards[self._plan.shard[places[0]]],
            self._plan.row[places],
            partial(self._augmentation_of, number=int(self._plan.draw[places[0]])),
            self._use,
            count_strangers=bool(self._plan.opens[places].any()),
        )
        return _Run(walk, dict(zip(self._plan.row[places].tolist(), places.tolist(), strict=True)))


class _Run:
    """A shard being walked for some places of the lane."""

    def __init__(self, walk: ShardWalk, place_of_row: dict[int, int]) -> None:
        self._walk = walk
        self._people: Iterator[JoinedPerson] = iter(walk)
        self._place_of_row = place_of_row

    @property
    def done(self) -> bool:
        return not self._place_of_row

    def read(self) -> tuple[int, JoinedPerson]:
        """The next place and its person."""
        person = next(self._people)
        return self._place_of_row.pop(person.row), person

    def finish(self) -> int:
        """Let the walk end, which closes the shard; how many people without a row it met."""
        _exhaust(self._people)
        return self._walk.without_row


def _exhaust(people: Iterable[JoinedPerson]) -> None:
    for _ in people:
        raise AssertionError("a walk gave more people than rows")


def _places_by_run(plan: LanePlan, start: int) -> dict[int, NDArray[np.int64]]:
    """For each stretch of a shard, the places in it that are still to be given."""
    todo = np.sort(plan.order[start:])
    by_run = todo[np.argsort(plan.run[todo], kind="stable")]
    runs, first = np.unique(plan.run[by_run], return_index=True)
    return dict(zip(runs.tolist(), np.split(by_run, first[1:]), strict=True)) if len(todo) else {}
