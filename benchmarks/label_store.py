"""`store`: time to stage, publish, read back and query a generation of many label files."""

import tempfile

import numpy as np
import pyarrow as pa

from benchmarks.report import Options, say, seconds, table
from pipeline.labels import InputShard, LabelStore, Lineage, StagedShard
from pipeline.labels.columns import VECTORS
from schemas.labels import LABEL_SCHEMA

_ROWS, _DIGEST, _RUN = 40, "c" * 64, "bench"


def run(options: Options) -> None:
    """Print the seconds of each step on the local disk."""
    files = 20 if options.quick else options.files
    shards = [f"{number:06d}" for number in range(files)]
    staged: list[StagedShard] = []
    with tempfile.TemporaryDirectory() as root:
        store = LabelStore(root)
        staging = store.staging(0, _RUN, _DIGEST)
        tables = [_labels(shard) for shard in shards]

        def stage() -> None:
            for shard, labels in zip(shards, tables, strict=True):
                staged.append(staging.write("bench", shard, labels, readable=_ROWS))

        steps = {
            "write files and sidecars": seconds(stage),
            "audit and publish": seconds(lambda: store.publish(_lineage(shards), staged)),
            "open the published generation": seconds(lambda: store.generation(0)),
        }
    columns = ["step", "files", "seconds", "ms/file"]
    table(columns, [[name, str(files), f"{s:.2f}", f"{1000 * s / files:.1f}"] for name, s in steps.items()])
    say(
        f"{_ROWS} rows a file, local disk. Registering alone took a prototype 1.0 s for 4,500 files (SPEC 7); the audit"
    )
    say("opens every file. `--files 4500` for the size of a full data set.")


def _labels(shard: str) -> pa.Table:
    rng = np.random.default_rng(int(shard))
    error = rng.uniform(0.005, 0.03, _ROWS)
    columns: dict[str, object] = {
        "round": np.zeros(_ROWS, np.int32),
        "dataset": ["bench"] * _ROWS,
        "shard": [shard] * _ROWS,
        "key": [f"{row:06d}" for row in range(_ROWS)],
        "person": np.zeros(_ROWS, np.int32),
        "has_label": np.ones(_ROWS, bool),
        "decision": ["converted"] * _ROWS,
        "start_source": ["smpl"] * _ROWS,
        "kp2d_error": error,
        "parent_kp2d_error": pa.nulls(_ROWS, pa.float64()),
        "candidate_kp2d_error": error,
        "pve_mean_mm": rng.uniform(3, 12, _ROWS),
        "pve_max_mm": rng.uniform(12, 50, _ROWS),
        "limit_violation": np.zeros(_ROWS),
        "iterations": rng.integers(3, 12, _ROWS).astype(np.int32),
    }
    for name in VECTORS:
        kind = LABEL_SCHEMA.field(name).type
        values = rng.normal(size=_ROWS * kind.list_size).astype(np.float32)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values), type=kind)
    arrays = [pa.array(columns[n]).cast(LABEL_SCHEMA.field(n).type) for n in LABEL_SCHEMA.names]
    return pa.Table.from_arrays(arrays, schema=LABEL_SCHEMA)


def _lineage(shards: list[str]) -> Lineage:
    return Lineage(
        round=0,
        run_id=_RUN,
        parent_snapshot_id=None,
        parent_run_id=None,
        checkpoint_uri=None,
        checkpoint_digest=None,
        config="{}",
        config_digest=_DIGEST,
        code_revision="bench",
        body_source="open",
        body_digest="b" * 64,
        inputs=tuple(
            InputShard(dataset="bench", shard=shard, url=f"/in/bench/{shard}.tar", size=10, etag="e")
            for shard in shards
        ),
        started="2026-01-01T00:00:00+00:00",
    )
