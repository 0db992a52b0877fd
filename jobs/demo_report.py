"""What the demo says in the end: errors of labels and networks to the truth, by round and by camera, and a picture."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from pipeline.body import Skel
    from pipeline.demo_set import DemoSet
    from pipeline.labelling.predictor import PredictorSource
    from pipeline.labels import LabelStore
    from schemas.person import Photo
    from trainer.training.record import TrainingRecord

PICTURED = 8
COMPARED = 2  # rounds that are also made under HSMR's camera
SOURCES = ("calibration", "exif", "estimated", "prior")


class Truth(NamedTuple):
    """The truth table of a demo set, and the body that it refers to."""

    table: "pa.Table"
    skel: "Skel"


def report(data: "DemoSet", root: str, rounds: Sequence[int], held_out_share: float, picture: Path) -> None:
    """Print the tables for the generations `rounds` of the store at `root`, and draw the picture."""
    import pyarrow.parquet as pq
    from rich.console import Console

    from pipeline.body import load_skel
    from pipeline.demo_set import label_errors
    from pipeline.labels import LabelStore

    store, truth = LabelStore(root), Truth(pq.read_table(data.truth_path), load_skel())
    tables = [store.read_all(k) for k in rounds]
    records = [record for k in rounds[:-1] if (record := _record(store, k)) is not None]
    under_hsmr = rounds_under_hsmr(data, _source(store, records[0]) if records else None)
    errors, hsmr_errors = ([label_errors(table, *truth) for table in each] for each in (tables, under_hsmr))
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(_truth_table(rounds, errors))
    console.print(camera_table(rounds, tables[-1], errors, hsmr_errors))
    console.print(_network_table(data, store, records, truth, held_out_share))
    _draw(data, tables, truth, picture)


def rounds_under_hsmr(data: "DemoSet", source: "PredictorSource | None") -> "list[pa.Table]":
    """Rounds 0 and 1 once more in this process, as if nothing were known of any camera; in round 1 with this network,
    the one that round 1 of the loop had.
    """
    import pyarrow as pa

    from pipeline.lenses.known_lens import KnownLenses
    from pipeline.rounds.actor import load_models
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.rounds.shard_task import ShardTask, process_shard
    from pipeline.shards import list_shards
    from schemas.labels import LABEL_SCHEMA

    config = RoundConfig(camera="hsmr")
    models = load_models(config, "cpu", KnownLenses(mode="hsmr"), source)
    made: list[list[pa.Table]] = [[] for _ in range(COMPARED)]
    for shard in list_shards(data.shard_pattern):
        labels = LABEL_SCHEMA.empty_table()
        for k in range(COMPARED):
            task = ShardTask(dataset=shard.dataset, shard=shard.shard, source=shard)
            labels = process_shard(task, k, labels, models, config).table
            made[k].append(labels)
    return [pa.concat_tables(tables) for tables in made]


def camera_table(
    rounds: Sequence[int], labels: "pa.Table", errors: "Sequence[pa.Table]", hsmr_errors: "Sequence[pa.Table]"
) -> "Table":
    """Errors by what is known of the camera, which these labels say, beside those under HSMR's camera."""
    from pipeline.demo_set import mean_label_errors

    of_source = [(source, people) for source in SOURCES if (people := _people_of(labels, source))]
    table = _table("Label error by what is known of the photo's camera, MPJPE / PA-MPJPE mm; right: as if nothing were")
    names = ("camera", "people", *(f"round {k}" for k in rounds), *(f"hsmr {k}" for k in range(len(hsmr_errors))))
    for name in names:
        table.add_column(name, justify="left" if name == "camera" else "right", no_wrap=True)
    for source, people in [*of_source, ("all", None)]:
        means = mean_label_errors([*errors, *hsmr_errors], people)
        figures = [f"{row['mpjpe_mm']:.2f} / {row['pa_mpjpe_mm']:.2f}" for row in means]
        table.add_row(source, str(means[0]["people"]), *figures)
    return table


def _people_of(labels: "pa.Table", source: str) -> list[tuple[str, str, str, int]]:
    from schemas.labels import IDENTITY_COLUMNS

    rows = labels.select([*IDENTITY_COLUMNS, "camera_source"]).to_pylist()
    return [tuple(row[name] for name in IDENTITY_COLUMNS) for row in rows if row["camera_source"] == source]


def _record(store: "LabelStore", round: int) -> "TrainingRecord | None":
    from trainer.training.record import best_record

    return best_record(store.storage, round, store.generation(round).snapshot_id)


def _source(store: "LabelStore", record: "TrainingRecord") -> "PredictorSource | None":
    from trainer.training.checkpoint_choice import best_source

    return best_source(store.storage, record)


def _table(title: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE)


def _truth_table(rounds: Sequence[int], errors: "Sequence[pa.Table]") -> "Table":
    from pipeline.demo_set import mean_label_errors

    means = mean_label_errors(errors)
    table = _table(f"Label error to the known truth, mean over the {means[0]['people']} people labelled in every round")
    for name in ("round", "MPJPE mm", "PA-MPJPE mm", "MPVPE mm", "kp2d error px", "limit violations"):
        table.add_column(name, justify="right")
    for k, row in zip(rounds, means, strict=True):
        figures = (row[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_error_px"))
        table.add_row(str(k), *(f"{figure:.2f}" for figure in figures), str(row["limit_violations"]))
    return table


def _network_table(
    data: "DemoSet", store: "LabelStore", records: "Sequence[TrainingRecord]", truth: Truth, held_out_share: float
) -> "Table":
    """The networks against the truth, on the people that neither was trained on, and who always says the mean pose."""
    from pipeline.demo_set import label_errors, mean_label_errors
    from trainer.inference.held_out_people import held_out_photos

    photos = held_out_photos(data.shard_pattern, held_out_share)
    predictions = [_predictions(store, record, photos) for record in records]
    constant = [_mean_poses(predictions[0])] if predictions else []
    means = mean_label_errors([label_errors(table, *truth) for table in [*constant, *predictions]])
    title = "The network's error to the truth, mean over {} people held out from its training"
    table = _table(title.format(means[0]["people"]))
    for name in ("trained on round", "steps in all", "MPJPE mm", "PA-MPJPE mm", "kp2d error px"):
        table.add_column(name, justify="right")
    steps = [sum(item.steps for item in records[: i + 1]) for i in range(len(records))]
    names = [
        ("constant mean pose", ""),
        *((str(record.round), str(n)) for record, n in zip(records, steps, strict=True)),
    ]
    for name, row in zip(names, means, strict=True):
        figures = (row[measure] for measure in ("mpjpe_mm", "pa_mpjpe_mm", "kp2d_error_px"))
        table.add_row(*name, *(f"{figure:.2f}" for figure in figures))
    return table


def _mean_poses(predictions: "pa.Table") -> "pa.Table":
    """The same people, each in HSMR's mean pose before its mean camera: what a new network says."""
    import pyarrow as pa
    import torch

    from pipeline.fit.starts.mean_pose import mean_parameters, mean_q
    from trainer.network.camera_head import camera_translation

    count, mean = predictions.num_rows, mean_parameters()
    focal = torch.tensor(predictions["focal"].to_pylist())
    constant = {
        "q": [mean_q().tolist()] * count,
        "betas": [mean.betas.tolist()] * count,
        "cam_t": camera_translation(mean.cam.expand(count, 3), focal).tolist(),
    }
    return pa.table({name: constant.get(name, predictions[name]) for name in predictions.column_names})


def _predictions(store: "LabelStore", record: "TrainingRecord", photos: "Sequence[Photo]") -> "pa.Table":
    """What a trained network says of these photos, as columns of a label table."""
    from trainer.inference.held_out_people import as_labels, predict_people

    source = _source(store, record)
    return as_labels([] if source is None else predict_people(source.load("cpu"), photos))


def _draw(data: "DemoSet", tables: "Sequence[pa.Table]", truth: Truth, picture: Path) -> None:
    from PIL import Image

    from pipeline.render import grid
    from pipeline.render.label_overlay import labels_by_person, person_panels
    from pipeline.shards import list_shards, read_shard
    from schemas.gender import DEFAULT_GENDER
    from schemas.person import Photo

    true = labels_by_person(truth.table)
    columns = [(f"round {k}", labels_by_person(tables[k])) for k in (0, len(tables) - 1)]
    rows = []
    for info in list_shards(data.shard_pattern):
        photos = [item for item in read_shard(info) if isinstance(item, Photo)]
        for photo in photos[: PICTURED // data.shards]:
            person = photo.people[0]
            labels = [
                *((title, by_person.get(person.id)) for title, by_person in columns),
                ("truth", true.get(person.id)),
            ]
            rows.append(person_panels(photo, person, labels, {DEFAULT_GENDER: truth.skel}, size=256))
    pairs = [[*a, *b] for a, b in zip(rows[::2], rows[1::2], strict=False)]
    Image.fromarray(grid(pairs, height=256)).save(picture)
