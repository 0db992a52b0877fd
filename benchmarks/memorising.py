"""`memorising`: a network on people it was trained on, and on people of its fold, whom it never met
(docs/decisions/0023-cross-fitting.md).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float32

from benchmarks.report import Options, say, table
from pipeline.body import Skel, load_skel
from pipeline.demo_set import DemoSet, make_demo_set
from pipeline.labels import vectors
from pipeline.labels.files.staging import encode
from pipeline.lenses.known_lens import KnownLenses
from pipeline.numerics.error_metrics import pa_mpjpe_mm
from pipeline.rounds.actor import load_models
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import ShardTask, process_shard
from pipeline.runtime.config import load_config
from pipeline.shards import list_shards, read_shard
from pipeline.storage.opening import open_storage
from schemas.input_shard import ShardId
from schemas.labels import IDENTITY_COLUMNS, LABEL_SCHEMA
from schemas.person import Photo
from schemas.skel import N_UNLIMITED
from trainer.data.label_index import LabelIndex, index_labels
from trainer.data.split import fold_of, groups_of, is_held_out
from trainer.inference.predictor import NetworkPredictor
from trainer.network.hsmr import Hsmr
from trainer.training.job import Place, TrainingJob
from trainer.training.train_config import TrainConfig, each_fold
from trainer.training.worker import TrainingWorker

_FOLDS: Final = 2


@dataclass(frozen=True)
class _Bodies:
    """q (N, 46) rad and betas (N, 10) of the same people."""

    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        return cls(vectors(rows["q"]), vectors(rows["betas"]))

    def at(self, rows: np.ndarray) -> Self:
        return type(self)(self.q[rows], self.betas[rows])


@dataclass(frozen=True)
class _People:
    """A demo set after round 0: its photos in order; of their people label, where there is one, and truth."""

    photos: list[Photo]
    labelled: Bool[np.ndarray, "N"]
    labels: _Bodies
    truth: _Bodies


def run(options: Options) -> None:
    """Train the tiny network without each of two folds; print how far it then is from the labels and from the truth."""
    people, epochs = (24, 1) if options.quick else (120, 160)
    skel, rows = load_skel(), []
    with tempfile.TemporaryDirectory() as folder:
        made = make_demo_set(Path(folder) / "demo", people=people)
        labels = _round_0(made, Path(folder))
        seen = _people(made, labels)
        for config in each_fold(load_config(TrainConfig, _settings(epochs)), _FOLDS):
            rows += _rows(seen, config, _predicted(seen, config, _index(made, config, Path(folder)), folder), skel)
    names = [
        "network, people",
        "count",
        "angles to label deg",
        "to truth deg",
        "PA-MPJPE to label mm",
        "to truth mm",
        "repeated",
    ]
    table(names, rows)
    say(
        f"{people} made-up people, those with a label; {epochs} epochs of the tiny network at 3e-4, not augmented, its "
        "last weights. Angles: mean absolute difference over the 43 limited ones. Repeated: the share of the "
        "label's error in these angles that is in the prediction too. `labels`: these themselves."
    )


def _settings(epochs: int) -> list[str]:
    schedule = ("schedule.patience=0", "schedule.validate_every=100000", "run.save_every=100000")
    data = ("data.global_batch=8", "data.held_out_share=0.15", "data.augment.enabled=false")
    return ["network.variant=tiny", "optimizer.learning_rate=3e-4", f"schedule.epochs={epochs}", *schedule, *data]


def _round_0(made: DemoSet, folder: Path) -> pa.Table:
    """The labels of all shards, which lie in a file for each besides."""
    config, tables = RoundConfig(), []
    models = load_models(config, "cpu", KnownLenses())
    for shard in list_shards(made.shard_pattern):
        task = ShardTask(dataset=shard.dataset, shard=shard.shard, source=shard)
        tables.append(process_shard(task, 0, LABEL_SCHEMA.empty_table(), models, config).table)
        _label_file(folder, shard.shard).write_bytes(encode(tables[-1]))
    return pa.concat_tables(tables)


def _label_file(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.parquet"


def _index(made: DemoSet, config: TrainConfig, folder: Path) -> LabelIndex:
    shards, data = list_shards(made.shard_pattern), config.data
    files = {ShardId(shard.dataset, shard.shard): str(_label_file(folder, shard.shard)) for shard in shards}
    return index_labels(files, shards, data.held_out_share, folds=data.folds, fold=data.fold)


def _people(made: DemoSet, labels: pa.Table) -> _People:
    items = [item for shard in list_shards(made.shard_pattern) for item in read_shard(shard)]
    photos = [item for item in items if isinstance(item, Photo) and item.people]
    ids = [tuple(person.id) for photo in photos for person in photo.people]
    labels, truth = _in_order(labels, ids), _in_order(pq.read_table(made.truth_path), ids)
    return _People(photos, np.array(labels["has_label"]), _Bodies.of(labels), _Bodies.of(truth))


def _in_order(rows: pa.Table, ids: list[tuple[str, str, str, int]]) -> pa.Table:
    identities = zip(*(rows[name].to_pylist() for name in IDENTITY_COLUMNS), strict=True)
    place = {identity: row for row, identity in enumerate(identities)}
    return rows.take([place[id] for id in ids]).combine_chunks()


def _predicted(people: _People, config: TrainConfig, index: LabelIndex, folder: str) -> _Bodies:
    job = TrainingJob(
        config=config,
        storage=open_storage(folder),
        index=index,
        round=0,
        training_id=f"fold{config.data.fold}",
        snapshot_id=0,
        body_digest="",
        code_revision="",
        init_uri=None,
    )
    worker = TrainingWorker(job, Place(rank=0, world=1, device=torch.device("cpu")))
    outcome = worker.run()
    loss = outcome.losses[-20:]
    say(f"fold {config.data.fold}: {outcome.steps} steps, loss {outcome.losses[0]:.3f} to {sum(loss) / len(loss):.3f}")
    network = worker.network
    if not isinstance(network, Hsmr):
        raise TypeError("networks of SKEL are compared")
    guesses = NetworkPredictor(network, "cpu").predict(people.photos)
    return _Bodies(np.stack([guess.q for guess in guesses]), np.stack([guess.betas for guess in guesses]))


def _rows(people: _People, config: TrainConfig, predicted: _Bodies, skel: Skel) -> list[list[str]]:
    data = config.data
    groups = groups_of(people.photos).repeat([len(photo.people) for photo in people.photos])
    held_out, own = is_held_out(groups, data.held_out_share), fold_of(groups, data.folds) == data.fold
    asked = {"trained on": ~held_out & ~own, "own fold": ~held_out & own, "held out": held_out}
    known, network = people.labelled, f"without fold {data.fold}"
    rows = [_row(f"{network}, {name}", predicted, people, chosen & known, skel) for name, chosen in asked.items()]
    return rows if data.fold else [_row("labels", people.labels, people, known, skel), *rows]


def _row(name: str, found: _Bodies, people: _People, chosen: np.ndarray, skel: Skel) -> list[str]:
    bodies, labels, truth = (each.at(chosen) for each in (found, people.labels, people.truth))
    others = (labels, truth)
    angles = [f"{np.rad2deg(np.abs(bodies.q - other.q)[:, N_UNLIMITED:]).mean():.2f}" for other in others]
    joints = [f"{_pa_mpjpe_mm(skel, bodies, other):.1f}" for other in others]
    repeated = _repeated((bodies.q - truth.q)[:, N_UNLIMITED:], (labels.q - truth.q)[:, N_UNLIMITED:])
    return [name, str(int(chosen.sum())), *angles, *joints, f"{repeated:.2f}"]


def _repeated(error: Float32[np.ndarray, "N 43"], of_label: Float32[np.ndarray, "N 43"]) -> float:
    """The share of the labels' errors that these errors hold: slope of the regression over all angles, each one's mean
    over the people taken off, since a network may well have learned what is wrong with all labels alike.
    """
    error, of_label = (each - each.mean(0) for each in (error, of_label))
    return float((error * of_label).sum() / (of_label * of_label).sum())


def _pa_mpjpe_mm(skel: Skel, a: _Bodies, b: _Bodies) -> float:
    with torch.no_grad():
        joints = [skel.joints(torch.from_numpy(x.q), torch.from_numpy(x.betas)) for x in (a, b)]
        return float(pa_mpjpe_mm(*joints).mean())
