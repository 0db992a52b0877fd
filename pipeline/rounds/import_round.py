"""A generation from labels that somebody else made: read, matched by identity, measured, gated, audited, published."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.labels import Generation, LabelStore
from pipeline.labels.exchange.label_sources import LabelSource
from pipeline.rounds.driver import resolved_plan, run_plan
from pipeline.rounds.import_task import matched
from pipeline.rounds.plan import plan_import
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.ray_cluster import ray_session, shipped_packages
from schemas.labels import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The outcome. `reused` and `computed` shards as in RoundResult."""

    generation: Generation
    already_published: bool
    reused: int
    computed: int

    @property
    def people(self) -> int:
        """How many of the generation's people could be read."""
        return self.generation.rows - self.generation.decisions.get(Decision.KEPT_UNREADABLE, 0)

    @property
    def matched(self) -> int:
        """How many of them the source had a label of."""
        return matched(self.generation.decisions)


def import_round(
    round: int,
    config: RoundConfig,
    source: LabelSource,
    store: LabelStore,
    *,
    ray_address: str | None = None,
    code_revision: str = "unknown",
    force_publish: str | None = None,
) -> Imported:
    """Publish the labels of `source` as generation `round`: in round 0 all that pass the gates, later those of them
    that beat the parent's.

    People are matched by key and person (and data set and shard, where the source tells them) to the readable people of
    data.shards, or of the parent's inputs. Computed by Ray actors; killed at any moment it is started again. Raises as
    `run_round`, and ConfigError when nobody matches.
    """
    started = datetime.now(UTC)
    own = (
        contextlib.nullcontext()
        if ray_address is None
        else ray_session(ray_address, config.run.actors, shipped_packages())
    )
    with own:
        plan = plan_import(resolved_plan(round, config, store, ray_address, None), source)
        done = run_plan(plan, store, ray_address, started, code_revision, force_publish)
    return Imported(
        generation=done.generation,
        already_published=done.already_published,
        reused=done.reused,
        computed=done.computed,
    )
