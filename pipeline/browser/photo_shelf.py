"""Photos of people, read from the shards that the labels were made from, in whatever order they are asked for."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from pipeline.labels.store import LabelStore
from pipeline.shards import list_shards
from pipeline.shards.random_access import ShardIndex, index_shard, read_photo
from schemas.input_shard import InputShard, ShardId
from schemas.person import Person, PersonId, Photo

_INDEXES: Final = 64
_PHOTOS: Final = 64

Key = TypeVar("Key")
Value = TypeVar("Value")


class NoPhotoError(LookupError):
    """The photo of a person cannot be shown; the message says why."""


class Kept(Generic[Key, Value]):
    """The latest `most` values, made once each even when many threads ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Key, threading.Lock] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of the key; what `make` raises is raised, and nothing kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._values[key] = value
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
            return value


class PhotoShelf:
    """Finds the photo of a person. Shards are those of the lineages, or those that are given in their place."""

    def __init__(self, store: LabelStore, shards: str | None = None, dataset: str | None = None) -> None:
        """shards, dataset: as data.shards and data.dataset. Raises as `list_shards`."""
        self._store = store
        self._given = None if shards is None else {item.id: item for item in list_shards(shards, dataset)}
        self._known: dict[ShardId, InputShard] = {}
        self._read_rounds: set[int] = set()
        self._lock = threading.Lock()
        self._indexes: Kept[ShardId, ShardIndex] = Kept(_INDEXES)
        self._photos: Kept[tuple[ShardId, str], Photo] = Kept(_PHOTOS)

    def photo(self, who: PersonId) -> tuple[Photo, Person]:
        """Raises NoPhotoError when the shard is gone, was changed, or does not hold the person."""
        photo = self._photos.get((who.shard_id, who.key), lambda: self._read(who.shard_id, who.key))
        for person in photo.people:
            if person.id.person == who.person:
                return photo, person
        raise NoPhotoError(f"the photo {who.key} of {who.shard_id} has no readable person {who.person}")

    def tracks(self, shard: ShardId, keys: Sequence[str]) -> dict[tuple[str, int], tuple[str, int]]:
        """(key, person) -> (track, frame) of those people of these photos that have one. Raises NoPhotoError."""
        index = self._index(shard)
        found = {}
        for key in keys:
            photo = read_photo(index, key, check_photo=False)
            for person in photo.people if isinstance(photo, Photo) else ():
                if person.track is not None:
                    found[key, person.id.person] = person.track
        return found

    def _read(self, shard: ShardId, key: str) -> Photo:
        try:
            found = read_photo(self._index(shard), key)
        except OSError as error:
            raise NoPhotoError(str(error)) from error
        if found is None:
            raise NoPhotoError(f"{shard} has no photo {key}")
        if not isinstance(found, Photo):
            raise NoPhotoError(f"{found.reason}: {found.detail}")
        return found

    def _index(self, shard: ShardId) -> ShardIndex:
        info = self.input_shard(shard)
        try:
            return self._indexes.get(shard, lambda: index_shard(info))
        except (OSError, ValueError) as error:
            raise NoPhotoError(f"{info.url}: {error}. Where it lies now: data.shards='DIR/*.tar'") from error

    def input_shard(self, shard: ShardId) -> InputShard:
        """Where the shard lies. Raises NoPhotoError for one that no lineage names."""
        if self._given is not None:
            if shard not in self._given:
                raise NoPhotoError(f"data.shards has no shard {shard}")
            return self._given[shard]
        with self._lock:
            if shard not in self._known:
                self._read_lineages()
            if shard not in self._known:
                raise NoPhotoError(f"no lineage names the shard {shard}: set data.shards='DIR/*.tar'")
            return self._known[shard]

    def _read_lineages(self) -> None:
        """Of the rounds published since we last looked; later rounds know best where a shard lies."""
        for generation in self._store.rounds():
            if generation.round not in self._read_rounds:
                self._known |= {item.id: item for item in self._store.lineage(generation.round).inputs}
                self._read_rounds.add(generation.round)
