"""The report on a training run: its curves, held-out people, errors by joint, and how well it knows its own errors."""

import io
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Final

from PIL import Image

from pipeline.labels import Storage
from pipeline.labels.files.training_curves import metrics_file
from pipeline.report.charts import AFTER, Chart, bars, curves
from pipeline.report.page import Card, Cell, Page, PageTable, Picture, Section, Tile, render_page
from schemas.skel import Q_NAMES
from trainer.checkpoint import CheckpointError, CheckpointInfo, checkpoint_info
from trainer.training.record import TrainingRecord, run_folder

logger = logging.getLogger(__name__)

_POINTS: Final = 500  # of a curve: more than a screen has columns for it
_SHEET_WIDTH: Final = 1200  # px
_QUALITY: Final = 80
_UNITS: Final = {"mpjpe_mm": "mm", "pa_mpjpe_mm": "mm", "kp2d_error_px": "px of the 256 px crop"}
_NOT_CURVES: Final = frozenset({"step", "epoch", "people", "labelled"})


def training_report_file(record: TrainingRecord) -> str:
    """Where the report on a run lies, below the storage root."""
    return f"{run_folder(record.round, record.training_id)}/report.html"


def report_training(storage: Storage, record: TrainingRecord) -> None:
    """Write the report of a finished run beside its files. A failure is logged: the run is done all the same."""
    try:
        write_training_report(storage, record)
    except Exception as error:  # whatever it is: the network is trained, and must not seem lost
        logger.warning(
            "Training %s on round %d is finished, but its report could not be written: %s: %s. Make it by python "
            "jobs/inspect_labels.py report %d --training %s, or leave reports out with run.report=false.",
            record.training_id, record.round, type(error).__name__, error, record.round, record.training_id,
        )  # fmt: skip


def write_training_report(storage: Storage, record: TrainingRecord) -> str:
    """Returns its path or URL. Raises OSError where curves cannot be read or the report cannot be written."""
    name = training_report_file(record)
    storage.write(name, training_report(storage, record))
    return storage.url(name)


def training_report(storage: Storage, record: TrainingRecord) -> bytes:
    """The HTML file. Pictures or a checkpoint that are gone are named in it. Raises OSError."""
    return render_page(
        Page(
            title=f"Training {record.training_id} on round {record.round}",
            subtitle=f"network {record.variant}, generation {record.snapshot_id}, {record.status}, started "
            f"{record.started}" + ("" if record.folds == 1 else f", without fold {record.fold} of {record.folds}"),
            sentence=_sentence(record),
            tiles=tuple(
                Tile(name=_spoken(name), value=f"{value:.4g}", note=_UNITS.get(name, ""))
                for name, value in record.best.items()
                if name not in {"step", "epoch"}
            ),
            alarms=None,
            sections=(
                _curve_section(storage, record),
                *_picture_sections(storage, record),
                *_error_sections(storage, record),
                _lineage_section(record),
            ),
        )
    )


def _sentence(record: TrainingRecord) -> str:
    done = f"{record.steps:,} steps, {record.epochs} epochs"
    if not record.best or not record.history:
        return f"{done}; nobody is held out, so nothing was judged."
    first, best = record.history[0], record.best
    name = "mpjpe_mm" if "mpjpe_mm" in best else "kp2d_error_px"
    if name not in best or name not in first:
        return f"{done}; {best.get('people', 0):.0f} people held out."
    return (
        f"In {done} the held-out {_spoken(name)} went from {first[name]:.1f} to {best[name]:.1f} "
        f"{_UNITS[name]}, best at step {best.get('step', record.steps):.0f}, on {best.get('people', 0):.0f} people "
        f"never trained on; it stopped because of {record.stopped_because or 'nothing yet'}."
    )


def _spoken(name: str) -> str:
    return name.removesuffix("_mm").removesuffix("_px").replace("_", " ")


def _curve_section(storage: Storage, record: TrainingRecord) -> Section:
    charts = [curves("loss", "step", {"loss": _losses(storage, record)}, note="of the batch, thinned")]
    names = dict.fromkeys(name for row in record.history for name in row if name not in _NOT_CURVES)
    for name in names:
        points = [(row["step"], row[name]) for row in record.history if math.isfinite(row.get(name, math.nan))]
        if points:
            charts.append(curves(f"held out: {_spoken(name)}", "step", {name: points}, note=_UNITS.get(name, "")))
    columns = tuple(dict.fromkeys(name for row in record.history for name in row))
    rows = [[row.get(name) for name in columns] for row in record.history]
    tables = (PageTable(title="Validations", columns=columns, rows=rows),) if rows else ()
    return Section(title="Curves", charts=tuple(charts), tables=tables)


def _losses(storage: Storage, record: TrainingRecord) -> list[tuple[float, float]]:
    """Every n-th step, so that there are no more than _POINTS; empty for a run that has written no curves yet."""
    try:
        table = storage.parquet_file(metrics_file(record.round, record.training_id)).read()
    except FileNotFoundError:
        return []
    rows = table.select(["metric", "step", "value"]).to_pylist()
    points = [(row["step"], row["value"]) for row in rows if row["metric"] == "loss" and math.isfinite(row["value"])]
    return points[:: max(1, math.ceil(len(points) / _POINTS))]


def _picture_sections(storage: Storage, record: TrainingRecord) -> Iterator[Section]:
    """The held-out people as they were predicted first, best and last."""
    folder = f"{run_folder(record.round, record.training_id)}/held_out"
    names = [name for name in storage.names(folder) if name.startswith("step-") and name.endswith(".png")]
    if not names:
        return
    best = f"step-{int(record.best.get('step', 0)):07d}.png"
    chosen = dict.fromkeys(name for name in (names[0], best, names[-1]) if name in names)
    cards = tuple(
        Card(
            title=f"step {int(name.removeprefix('step-').removesuffix('.png'))}"
            + (", the best" if name == best else ""),
            pictures=(
                Picture("crop with keypoints, and the predicted body", _sheet(storage.read(f"{folder}/{name}"))),
            ),
        )
        for name in chosen
    )
    yield Section(title="Held-out people", text=("The same people each time, never trained on.",), cards=cards)


def _sheet(png: bytes) -> bytes:
    picture, sink = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.thumbnail((_SHEET_WIDTH, 10 * _SHEET_WIDTH))
    picture.save(sink, "JPEG", quality=_QUALITY, optimize=True)
    return sink.getvalue()


def _error_sections(storage: Storage, record: TrainingRecord) -> Iterator[Section]:
    """What the best checkpoint says of its errors on held-out people."""
    if record.best_checkpoint is None:
        return
    try:
        info = checkpoint_info(storage.url(record.best_checkpoint))
    except (CheckpointError, OSError) as error:
        yield Section(title="Errors by joint", text=(f"The best checkpoint cannot be read: {error}",))
        return
    if info.q_std:
        yield _joint_section(info)
    if info.spread_factors:
        yield _calibration_section(info)


def _joint_section(info: CheckpointInfo) -> Section:
    errors = [math.degrees(value) for value in info.q_std]
    spread = [math.degrees(value) for value in info.population_std[: len(errors)]]
    rows: list[list[Cell]] = [
        [
            name,
            round(error, 2),
            round(spread[i], 2) if spread else None,
            round(error / spread[i], 3) if spread else None,
        ]
        for i, (name, error) in enumerate(zip(Q_NAMES, errors, strict=True))
    ]
    columns = ("joint angle", "error", "how much people differ", "error / difference")
    return Section(
        title="Errors by joint",
        text=("Root mean square of prediction minus label over held-out people; labels are not the truth.",),
        charts=(_by_joint("Error by joint, degrees", errors),),
        tables=(PageTable(title="Errors by joint, degrees", columns=columns, rows=rows),),
    )


def _calibration_section(info: CheckpointInfo) -> Section:
    return Section(
        title="Calibration",
        text=(
            "By what the network's own standard deviations are multiplied so that held-out errors are as large as they "
            "say: 1 where it knows how far off it is, more where it is too sure of itself.",
        ),
        charts=(_by_joint("Factor by joint", info.spread_factors),),
    )


def _by_joint(title: str, values: Sequence[float]) -> Chart:
    return bars(title, Q_NAMES, [("held out", AFTER, values)], digits=3)


def _lineage_section(record: TrainingRecord) -> Section:
    facts: list[list[Cell]] = [
        [name.replace("_", " "), str(value)]
        for name in ("init_uri", "best_checkpoint", "best_digest", "body_digest", "config_digest", "code_revision",
                     "head", "workers_asked", "worker_groups", "started", "finished", "stopped_because")
        if (value := getattr(record, name)) not in (None, "", ())
    ]  # fmt: skip
    counts = [[name.replace("_", " "), count] for name, count in record.data_counts.items()]
    return Section(
        title="Lineage",
        tables=(
            PageTable(title="Facts", columns=("fact", "value"), rows=facts),
            PageTable(title="What became of the label rows in the last epoch", columns=("rows", "count"), rows=counts),
        ),
        folded=(("The whole configuration", record.config),),
    )
