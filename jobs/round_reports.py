"""`inspect_labels.py report`: make the report on a generation again, or compare it with another one."""

import argparse
from dataclasses import dataclass, field

from jobs.command_line import CommandError
from pipeline.labels import LabelStore
from pipeline.labels.inspecting.inspection import latest
from pipeline.report.round_report import PhotoSource, parent_round, round_report, write_round_report
from pipeline.runtime.config import ConfigError, DataConfig, StorageConfig, load_config
from pipeline.shards import list_shards


@dataclass(frozen=True, kw_only=True)
class ReportBodyConfig:
    """source: `open` or a folder with the official files; by default what the round had."""

    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """data.shards, body.source: where photos and body are now, if not where the round had them."""

    data: DataConfig = field(default_factory=DataConfig)
    body: ReportBodyConfig = field(default_factory=ReportBodyConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)


def make_report(options: argparse.Namespace) -> str:
    """Write the report that the options ask for; returns where it is. Raises as `round_report`, and ConfigError."""
    config = load_config(ReportConfig, options.overrides)
    store = LabelStore(config.storage.root, config.storage.catalog)
    round = latest(store).round if options.round is None else options.round
    if options.training is not None:
        return _training_report(store, round, options)
    against = parent_round(store, round) if options.against is None else options.against
    if against == round:
        raise ConfigError(f"--against {round} is the round itself: name another one.")
    shards = None if config.data.shards is None else list_shards(config.data.shards, config.data.dataset)
    photos = PhotoSource(shards=shards, body_source=config.body.source)
    if options.output is None:
        return write_round_report(store, round, against, photos)
    options.output.write_bytes(round_report(store, round, against, photos))
    return str(options.output)


def _training_report(store: LabelStore, round: int, options: argparse.Namespace) -> str:
    from trainer.training.record import read_records
    from trainer.training.training_report import training_report, write_training_report

    if options.against is not None:
        raise ConfigError("--against compares generations; a training run stands alone: leave it out.")
    records = read_records(store.storage, round)
    chosen = [record for record in records if options.training in ("", record.training_id)]
    if not chosen:
        known = ", ".join(record.training_id for record in records) or "none"
        wanted = f"training run {options.training}" if options.training else "training run"
        raise CommandError(f"Round {round} has no {wanted}; on record: {known}.")
    if options.output is None:
        return write_training_report(store.storage, chosen[-1])
    options.output.write_bytes(training_report(store.storage, chosen[-1]))
    return str(options.output)
