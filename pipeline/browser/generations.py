"""The published generations as a browser needs them: which there are, their rows, and indexes over two of them."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.index_file import index_path, make_index
from pipeline.browser.locked_sql import LockedSql, QueryRefusedError
from pipeline.browser.photo_shelf import Kept
from pipeline.labels.files.columns import equals
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.labels.table.generation import Generation
from schemas.input_shard import ShardId
from schemas.person import PersonId

_FRESH_S: Final = 2.0
_TABLES: Final = 24
_PLANS: Final = 8
_OPEN: Final = 3


@dataclass(slots=True)
class IndexWork:
    """An index that is being made, or was. error: why it could not be."""

    done: int = 0
    total: int = 0
    sql: LockedSql | None = None
    error: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Generations:
    """Keeps what is asked for again and again. All methods may be called from many threads."""

    def __init__(self, store: LabelStore, config: BrowseConfig) -> None:
        self.store = store
        self._config = config
        self._lock = threading.Lock()
        self._found: tuple[float, dict[int, Generation]] = (0.0, {})
        self._plans: Kept[int, Mapping[ShardId, str]] = Kept(_PLANS)
        self._tables: Kept[tuple[int, ShardId], pa.Table] = Kept(_TABLES)
        self._indexes: dict[tuple[int, int], IndexWork] = {}

    def all(self) -> dict[int, Generation]:
        """Round -> generation, as of the last two seconds. Raises LabelStoreError."""
        with self._lock:
            when, found = self._found
            if time.monotonic() - when > _FRESH_S or not found:
                found = {item.round: item for item in self.store.rounds()}
                self._found = (time.monotonic(), found)
            return found

    def get(self, round: int) -> Generation:
        """Raises QueryRefusedError, naming the rounds there are."""
        found = self.all()
        if round not in found:
            raise QueryRefusedError(
                f"round {round} is not published; published: {', '.join(map(str, found)) or 'none'}"
            )
        return found[round]

    def table(self, round: int, shard: ShardId) -> pa.Table | None:
        """All rows of a shard, None where the generation has none."""
        snapshot = self.get(round).snapshot_id
        plan = self._plans.get(snapshot, lambda: self.store.files(round))
        if shard not in plan:
            return None
        return self._tables.get((snapshot, shard), lambda: read_labels(plan[shard]))

    def row(self, round: int, who: PersonId) -> dict[str, Any] | None:
        """The person's row in a round, or None."""
        table = self.table(round, who.shard_id)
        if table is None:
            return None
        rows = table.filter(pa.array(equals(table["key"], who.key) & equals(table["person"], who.person)))
        return rows.to_pylist()[0] if len(rows) else None

    def index(self, a: int, b: int) -> IndexWork:
        """The index over rounds A and B; when there is none yet, making it begins. Raises QueryRefusedError."""
        pair = (self.get(a).snapshot_id, self.get(b).snapshot_id)
        with self._lock:
            work = self._indexes.get(pair)
            if work is None or work.error is not None:
                work = self._indexes[pair] = IndexWork()
                while len(self._indexes) > _OPEN:
                    self._indexes.pop(next(iter(self._indexes)))
                threading.Thread(target=self._make, args=(work, a, b), daemon=True).start()
        return work

    def _make(self, work: IndexWork, a: int, b: int) -> None:
        def progress(done: int, total: int) -> None:
            work.done, work.total = done, total

        try:
            path: Path = index_path(self._config.cache_folder, self.store, a, b)
            if not path.is_file():
                make_index(path, self.store, a, b, progress)
            path.touch()
            work.sql = LockedSql(path, self._config)
        except (LabelStoreError, OSError, ValueError) as error:
            work.error = str(error)
        except Exception as error:  # a thread has nobody to raise to; the page says it
            work.error = f"{type(error).__name__}: {error}"
            raise
