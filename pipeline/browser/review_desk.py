"""Reviews as the pages need them: written to the store beside the labels, and looked up by the rows of an index."""

import threading
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from pipeline.browser.locked_sql import LockedSql, QueryRefusedError
from pipeline.labels.files.reviews import (
    Review,
    Verdict,
    latest_reviews,
    new_review,
    read_reviews,
    write_review,
)
from pipeline.labels.table.generation import Generation
from pipeline.storage.storage import Storage
from schemas.person import PersonId

_SOME: Final = 500


class ReviewDesk:
    """reviewer: in whose name this server writes; None: it writes none."""

    def __init__(self, storage: Storage, reviewer: str | None) -> None:
        self._storage = storage
        self.reviewer = reviewer
        self._lock = threading.Lock()
        self._known: dict[str, Review] = {}
        self._shown: WeakKeyDictionary[LockedSql, tuple[str, ...]] = WeakKeyDictionary()
        self._showing = threading.Lock()

    def write(self, who: PersonId, generation: Generation, verdict: str, note: str) -> Review:
        """Store a review of the person as this generation has it.

        Raises QueryRefusedError for what is no review, or when this server writes none; OSError.
        """
        if self.reviewer is None:
            raise QueryRefusedError("this server writes no reviews: start it with browse.reviewer=NAME")
        if verdict not in set(Verdict):
            raise QueryRefusedError(f"verdict {verdict!r}: one of {', '.join(Verdict)} expected")
        try:
            review = new_review(
                who,
                reviewer=self.reviewer,
                round=generation.round,
                snapshot_id=generation.snapshot_id,
                verdict=Verdict(verdict),
                note=note.strip(),
            )
        except ValueError as error:
            raise QueryRefusedError(str(error)) from error
        write_review(self._storage, review)
        return review

    def all(self) -> dict[str, Review]:
        """File -> review, of everybody, oldest first; new ones are read. Raises LabelStoreError or OSError."""
        with self._lock:
            self._known = read_reviews(self._storage, self._known)
            return self._known

    def of(self, who: PersonId) -> list[Review]:
        """All reviews of a person, oldest first."""
        return [review for review in self.all().values() if review.who == who]

    def show_in(self, sql: LockedSql) -> None:
        """Let the index know the reviews there are now."""
        known = self.all()
        with self._showing:
            if self._shown.get(sql) != tuple(known):
                sql.set_verdicts(self._verdicts(sql, known))
                self._shown[sql] = tuple(known)

    def _verdicts(self, sql: LockedSql, known: Mapping[str, Review]) -> list[tuple[int, str, str]]:
        """(id, verdict, reviewer) of those reviewed people whom the index has."""
        latest = latest_reviews(known.values())
        people = list(latest)
        verdicts: list[tuple[int, str, str]] = []
        for start in range(0, len(people), _SOME):
            some = people[start : start + _SOME]
            places = ", ".join(["(?, ?, ?, ?::INTEGER)"] * len(some))
            found = sql.rows(
                "SELECT id, dataset, shard, key, person FROM people "
                f"WHERE (dataset, shard, key, person) IN (SELECT * FROM (VALUES {places}))",
                [part for who in some for part in who],
            )
            for number, *parts in found:
                review = latest[PersonId(*parts)]  # pyrefly: ignore
                verdicts.append((int(str(number)), review.verdict.value, review.reviewer))
        return verdicts
