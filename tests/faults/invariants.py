"""What must hold of a label store whatever has happened to it: nothing published lost, nothing half-visible.

It looks with its own eyes: files by their checksums, rows one by one, Iceberg through pyiceberg's scan, SQL through
DuckDB, and none of it through the audit that publishing itself runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.labels import Generation, LabelStore, StagedShard, read_labels
from pipeline.labels.files.layout import sidecar_file

Person = tuple[str, str, str, int]
Shard = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A generation as it was found: it must be found like this for ever. `files`: shard -> (URL, sha256)."""

    generation: Generation
    files: Mapping[Shard, tuple[str, str]]
    people: frozenset[Person] = field(repr=False)

    @property
    def rows(self) -> int:
        return len(self.people)


def check_store(store: LabelStore, before: Mapping[int, Seen] | None = None) -> dict[int, Seen]:
    """Every published generation is complete, and those seen `before` are unchanged; returns what is there now.

    Raises AssertionError, naming what is wrong.
    """
    seen: dict[int, Seen] = {}
    for generation in store.rounds():
        seen[generation.round] = _complete(store, generation, seen.get(generation.round - 1))
    assert list(seen) == list(range(len(seen))), f"rounds {list(seen)} have gaps"
    for round, earlier in (before or {}).items():
        assert round in seen, f"round {round} was published and is lost"
        assert seen[round] == earlier, f"round {round} was published and has changed"
    _same_by_other_readers(store, seen)
    return seen


def check_equal(store: LabelStore, reference: LabelStore, round: int) -> None:
    """Generation `round` is that of an uninterrupted run, bit for bit: rows, files, counts, figures, rejections."""
    found, expected = store.generation(round), reference.generation(round)
    for name in ("rows", "files", "file_bytes", "decisions", "rejections", "metrics", "config_digest"):
        assert getattr(found, name) == getattr(expected, name), name
    mine, theirs = store.files(round), reference.files(round)
    assert mine.keys() == theirs.keys()
    for shard in mine:
        one, other = read_labels(mine[shard]), read_labels(theirs[shard])
        assert one.equals(other), f"{shard} differs from the uninterrupted run"
        assert _digest(store, mine[shard]) == _digest(reference, theirs[shard]), f"{shard}: same rows in other bytes"
    assert store.lineage(round).unreadable_shards == reference.lineage(round).unreadable_shards


def _complete(store: LabelStore, generation: Generation, parent: Seen | None) -> Seen:
    """Files whole, rows as recorded, one row a person, everybody of the parent present."""
    round, record = generation.round, store.lineage(generation.round)
    assert record.run_id == generation.run_id
    assert record.rows == generation.rows == sum(record.decisions.values())
    plan = store.files(round)
    assert len(plan) == generation.files, f"round {round}: {len(plan)} files, {generation.files} recorded"
    files: dict[Shard, tuple[str, str]] = {}
    people: list[Person] = []
    for (dataset, shard), url in plan.items():
        sidecar = StagedShard.from_json(store.storage.read(sidecar_file(round, generation.run_id, dataset, shard)))
        digest = _digest(store, url)
        assert digest == sidecar.sha256, f"{url} is not what its sidecar vouches for"
        table = read_labels(url)
        assert table.num_rows == sidecar.rows
        assert set(table["round"].to_pylist()) == {round}
        files[dataset, shard] = (url, digest)
        people += _people(table)
    assert len(people) == generation.rows, f"round {round}: {len(people)} rows, {generation.rows} recorded"
    assert len(set(people)) == len(people), f"round {round}: somebody occurs twice"
    inputs = {(item.dataset, item.shard) for item in record.inputs}
    assert set(plan) <= inputs, f"round {round}: files of shards that are no input"
    if parent is not None:
        assert parent.people <= set(people), f"round {round}: {len(parent.people - set(people))} people were lost"
        assert generation.parent_snapshot_id == parent.generation.snapshot_id
        assert generation.parent_run_id == parent.generation.run_id
    return Seen(generation=generation, files=files, people=frozenset(people))


def _same_by_other_readers(store: LabelStore, seen: Mapping[int, Seen]) -> None:
    """main (what any Iceberg reader sees) and the SQL view hold the published rounds and not a row more."""
    rows = {round: item.rows for round, item in seen.items()}
    table = store._catalog.load()
    on_main = [] if table is None else table.scan(selected_fields=("round",)).to_arrow()["round"].to_pylist()
    assert {round: on_main.count(round) for round in sorted(set(on_main))} == rows, "main differs from the tags"
    if rows:
        with store.query() as connection:
            counted = connection.execute("SELECT round, count(*) FROM labels GROUP BY 1 ORDER BY 1").fetchall()
        assert dict(counted) == rows, "SQL differs from the tags"


def _people(table: pa.Table) -> list[Person]:
    columns = [table[name].to_pylist() for name in ("dataset", "shard", "key", "person")]
    return list(zip(*columns, strict=True))


def _digest(store: LabelStore, url: str) -> str:
    return hashlib.sha256(store.storage.read(store.storage.name(url))).hexdigest()
