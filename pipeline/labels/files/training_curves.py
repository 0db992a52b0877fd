"""Where the curves of training runs lie beside the labels, so that SQL can join them: the view `training`."""

from typing import Final

import pyarrow as pa

from pipeline.storage.storage import Storage

FOLDER: Final = "training/metrics"

METRICS_SCHEMA: Final = pa.schema(
    [
        pa.field("round", pa.int32(), nullable=False),
        pa.field("training_id", pa.string(), nullable=False),
        pa.field("snapshot_id", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""One row per metric and step of a training on generation `round`; snapshot_id: the very generation it trained on."""


def metrics_file(round: int, training_id: str) -> str:
    """Name below the storage root of the curves of one training run."""
    return f"{FOLDER}/round={round:05d}.{training_id}.parquet"


def metrics_files(storage: Storage) -> list[str]:
    """Paths or URLs of the curves of all training runs."""
    return [storage.url(f"{FOLDER}/{name}") for name in storage.names(FOLDER) if name.endswith(".parquet")]
