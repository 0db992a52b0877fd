"""The curves of a training run as files: a Parquet table for SQL, and an event file for TensorBoard.

Both hold the whole run and are replaced at every validation, so that a resumed run leaves no doubled steps. Pictures of
held-out people, which are large, have an event file for each validation, in a folder that TensorBoard shows beside.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from pipeline.labels import Storage
from pipeline.labels.files.training_curves import METRICS_SCHEMA, metrics_file
from trainer.training.record import run_folder

EVENTS = "tensorboard/events.out.tfevents.0.training"  # TensorBoard looks for "tfevents" in the name


PICTURES = "held_out/people"
"""Their name in TensorBoard."""
PICTURE_FOLDER = "tensorboard/held_out"


class Figure(NamedTuple):
    """One value of a curve, after so many steps."""

    metric: str
    step: int
    value: float


def figures(losses: Sequence[float], history: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    """The loss of every step, then every held-out metric of every validation."""
    yield from (Figure("loss", step, value) for step, value in enumerate(losses, 1))
    for row in history:
        step = int(row["step"])
        yield from (Figure(f"held_out/{name}", step, value) for name, value in row.items() if name != "step")


def write_metrics(
    storage: Storage,
    *,
    round: int,
    training_id: str,
    snapshot_id: int,
    losses: Sequence[float],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Replace both files of the run."""
    found = list(figures(losses, history))
    columns = {
        "round": [round] * len(found),
        "training_id": [training_id] * len(found),
        "snapshot_id": [snapshot_id] * len(found),
        "metric": [item.metric for item in found],
        "step": [item.step for item in found],
        "value": [item.value for item in found],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=METRICS_SCHEMA), sink, compression="zstd")
    storage.write(metrics_file(round, training_id), sink.getvalue())
    storage.write(f"{run_folder(round, training_id)}/{EVENTS}", _event_file(lambda writer: _add_figures(writer, found)))


def write_picture_events(storage: Storage, folder: str, step: int, sheet: UInt8[np.ndarray, "H W 3"]) -> None:
    """The event file of a validation, below the run's folder. Names rise with the step: TensorBoard reads them once."""
    data = _event_file(lambda writer: writer.add_image(PICTURES, sheet, step, dataformats="HWC"))
    storage.write(f"{folder}/{PICTURE_FOLDER}/events.out.tfevents.{step:010d}.held_out", data)


def _add_figures(writer: SummaryWriter, found: Sequence[Figure]) -> None:
    for item in found:
        writer.add_scalar(item.metric, item.value, item.step)


def _event_file(add: Callable[[SummaryWriter], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder, write_to_disk=True) as writer:
            add(writer)
        (file,) = Path(folder).iterdir()
        return file.read_bytes()
