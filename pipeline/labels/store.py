"""The label store: published generations of labels below one storage root, to read, to compare, and to add to."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.labels import query
from pipeline.labels.files import layout
from pipeline.labels.files.errors import LabelStoreError, NoSuchGenerationError
from pipeline.labels.files.lineage import Lineage
from pipeline.labels.files.staging import StagedShard, Staging, person_rows, read_labels
from pipeline.labels.publishing import publish as publishing
from pipeline.labels.publishing import round_order
from pipeline.labels.publishing.audit_config import AuditConfig
from pipeline.labels.publishing.publication import Publication, StepHook
from pipeline.labels.table.catalog import LabelCatalog
from pipeline.labels.table.generation import (
    Generation,
    LineageFile,
    describe,
    lineage_files,
    planned_files,
    published_rounds,
)
from pipeline.labels.table.withdrawn import WithdrawnGeneration, withdrawn_generations
from pipeline.storage.opening import open_storage
from schemas.input_shard import ShardId
from schemas.person import Rejection

if TYPE_CHECKING:
    import duckdb


class LabelStore:
    """Generations below `root` (a folder or s3://bucket/prefix); `catalog` is a SQL or REST URI, by default SQLite.

    Opening a store touches nothing: a store that does not exist yet simply has no rounds.
    """

    def __init__(self, root: str, catalog: str | None = None) -> None:
        """Raises ValueError for an unusable root, CatalogError for a catalog URI with a password."""
        self.storage = open_storage(root)
        self._catalog = LabelCatalog(self.storage, catalog)

    @property
    def catalog(self) -> LabelCatalog:
        """The catalog of the label table, for those who change it."""
        return self._catalog

    def rounds(self) -> list[Generation]:
        """The published generations, oldest first."""
        table = self._catalog.load()
        return [] if table is None else [describe(k, snapshot) for k, snapshot in published_rounds(table).items()]

    def withdrawn(self) -> list[WithdrawnGeneration]:
        """Generations that a rollback or `forget` took from the readers, and whose files are still there."""
        table = self._catalog.load()
        return [] if table is None else withdrawn_generations(table)

    def generation(self, round: int) -> Generation:
        """Raises NoSuchGenerationError, naming the rounds there are."""
        generations = {generation.round: generation for generation in self.rounds()}
        if round not in generations:
            raise NoSuchGenerationError(self._not_published(round, list(generations)))
        return generations[round]

    def files(self, round: int) -> dict[ShardId, str]:
        """Shard -> path or s3:// URL of its label file. Plan once a round, then `read_labels` each.

        A shard without a single row has no file. Raises NoSuchGenerationError.
        """
        table = self._catalog.load()
        published = {} if table is None else published_rounds(table)
        if table is None or round not in published:
            raise NoSuchGenerationError(self._not_published(round, list(published)))
        return planned_files(table, published[round], self.storage)

    def read(self, round: int, dataset: str, shard: str) -> pa.Table:
        """The labels of one shard. Raises NoSuchGenerationError."""
        files, wanted = self.files(round), ShardId(dataset, shard)
        if wanted not in files:
            known = ", ".join(str(item) for item in list(files)[:5])
            raise NoSuchGenerationError(f"Round {round} has no labels of {wanted}. It has {known}, ...")
        return read_labels(files[wanted])

    def history(self, dataset: str, shard: str, key: str, person: int) -> pa.Table:
        """The rows of one person, one per round that has them, oldest first.

        Opens one file a round and no file list: where a run puts a shard is known (`layout`). Raises
        NoSuchGenerationError when nothing is published, or no round knows the person.
        """
        generations = self.rounds()
        if not generations:
            raise NoSuchGenerationError(self.nothing_published())
        files = [layout.data_file(item.round, item.run_id, dataset, shard) for item in generations]
        found = [rows for file in files if len(rows := person_rows(self.storage, file, key, person))]
        if not found:
            raise NoSuchGenerationError(
                f"No published round has a row of {dataset}/{shard}/{key} #{person}. How people are named: "
                'python jobs/inspect_labels.py sql "SELECT dataset, shard, key, person FROM labels LIMIT 5"'
            )
        return pa.concat_tables(found, promote_options="default")

    def read_all(self, round: int) -> pa.Table:
        """All labels of a generation in memory; for millions of rows prefer `query`."""
        return pa.concat_tables([read_labels(url) for url in self.files(round).values()])

    def lineage(self, round: int) -> Lineage:
        """The full lineage. Raises NoSuchGenerationError, or LabelStoreError if the file is not the one published."""
        generation = self.generation(round)
        return self.read_lineage(LineageFile(file=generation.lineage_file, sha256=generation.lineage_sha256))

    def lineages(self) -> dict[int, LineageFile]:
        """Snapshot -> lineage of every generation there ever was: published, withdrawn, or expired."""
        table = self._catalog.load()
        return {} if table is None else lineage_files(table)

    def read_lineage(self, source: LineageFile) -> Lineage:
        """Raises LabelStoreError if the file is not the one that was published."""
        data = self.storage.read(source.file)
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise LabelStoreError(
                f"{self.storage.url(source.file)} was changed after it was published. Restore it from a backup."
            )
        return Lineage.from_json(data)

    def query(self, round: int | None = None) -> "duckdb.DuckDBPyConnection":
        """DuckDB with the view `labels` over all published rounds, or over one. Raises NoSuchGenerationError."""
        rounds = [round] if round is not None else [generation.round for generation in self.rounds()]
        if not rounds:
            raise NoSuchGenerationError(self.nothing_published())
        return query.connect(self.storage, {k: list(self.files(k).values()) for k in rounds})

    def staging(self, round: int, run_id: str, config_digest: str) -> Staging:
        """Where the actors of a run write; a few strings, to be handed to them."""
        return Staging(storage=self.storage, round=round, run_id=run_id, config_digest=config_digest)

    def published_by(self, round: int, run_id: str) -> Generation | None:
        """The generation if this very run has published the round, None if the round is free for it.

        Raises AlreadyPublishedError or RoundOrderError for a round that the run cannot publish.
        """
        table = self._catalog.load()
        return None if table is None else round_order.published_by(table, round, run_id)

    def publish(
        self,
        lineage: Lineage,
        staged: Sequence[StagedShard],
        unreadable: Sequence[Rejection] = (),
        config: AuditConfig | None = None,
        on_step: StepHook = lambda step: None,
        force: str | None = None,
    ) -> Publication:
        """Audit and publish a run as generation `lineage.round`; see `pipeline.labels.publishing.publish.publish`."""
        return publishing.publish(self._catalog, lineage, staged, unreadable, config, on_step, force)

    def nothing_published(self) -> str:
        return (
            f"No labels are published under {self.storage.root}. Set storage.root=DIR_or_s3://bucket/prefix, "
            "or publish round 0: python jobs/refine_round.py --round 0 data.shards='DIR/{000000..000002}.tar'"
        )

    def _not_published(self, round: int, published: Sequence[int]) -> str:
        if not published:
            return self.nothing_published()
        rounds = ", ".join(str(k) for k in published)
        gone = [item for item in self.withdrawn() if item.generation.round == round]
        why = f" It was {gone[-1].how} on {gone[-1].when}: {gone[-1].reason}." if gone else ""
        return f"Round {round} is not published under {self.storage.root}; published: {rounds}.{why}"
