"""Random but valid label tables, and staged runs of them, for the tests of the label store."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.image.camera import FOCAL
from pipeline.labels import LabelStore, Lineage, StagedShard
from pipeline.labels.files.columns import VECTORS
from schemas.input_shard import InputShard
from schemas.labels import LABEL_SCHEMA

CONFIG_DIGEST = "c" * 64
SHARDS = (("photos", "000000"), ("photos", "000001"), ("video", "000000"))


def label_table(dataset: str, shard: str, *, round: int = 0, rows: int = 20, seed: int = 0) -> pa.Table:
    """Rows of one shard: the same people for every round and seed, two people a photo."""
    name = f"{dataset}/{shard}".encode()
    labelled = np.arange(rows) % 10 != 9
    error = np.random.default_rng([seed, *name]).uniform(0.005, 0.03, rows) * 0.9**round
    rng = np.random.default_rng([seed, round, *name])
    parent = error * rng.uniform(1.01, 1.3, rows)
    columns: dict[str, object] = {
        "round": np.full(rows, round, np.int32),
        "dataset": [dataset] * rows,
        "shard": [shard] * rows,
        "key": [f"{i // 2:06d}" for i in range(rows)],
        "person": pa.array([i % 2 for i in range(rows)], pa.int32()),
        "has_label": labelled,
        "decision": np.where(labelled, "converted" if round == 0 else "improved", "no_label"),
        "start_source": np.where(labelled, "smpl" if round == 0 else "parent", "none"),
        "kp2d_error": pa.array(error, mask=~labelled),
        "parent_kp2d_error": pa.array(parent, mask=~labelled | (round == 0)),
        "candidate_kp2d_error": pa.array(error, mask=~labelled),
        "kp2d_heldout_error": pa.array(1.2 * error, mask=~labelled),
        "kp2d_heldout_in_50": pa.array(np.full(rows, 0.5), mask=~labelled),
        "kp2d_heldout_in_90": pa.array(np.full(rows, 0.75), mask=~labelled),
        "energy": pa.array(1e3 * error, mask=~labelled),
        "parent_energy": pa.array(1e3 * parent, mask=~labelled | (round == 0)),
        "pve_mean_mm": pa.array(rng.uniform(3, 12, rows), mask=~labelled),
        "pve_max_mm": pa.array(rng.uniform(12, 50, rows), mask=~labelled),
        "limit_violation": pa.array(np.zeros(rows), mask=~labelled),
        "iterations": pa.array(rng.integers(3, 12, rows), pa.int32(), mask=~labelled),
        "focal": pa.array(np.full(rows, FOCAL), mask=~labelled),
        "camera_source": pa.array(["hsmr"] * rows, mask=~labelled),
        "height_m": pa.array(rng.uniform(1.5, 2.0, rows), mask=~labelled),
        "photo_group": pa.array(np.arange(rows) // 2),
        "gender": pa.array(["male"] * rows, mask=~labelled),
        "gain": pa.array(rng.uniform(0, 1, rows), mask=~labelled),  # only `newer_code` has this column
    }
    for name in VECTORS:
        kind = LABEL_SCHEMA.field(name).type
        values = (rng.normal(size=(rows, kind.list_size)) * labelled[:, None]).astype(np.float32)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)
    return pa.table({name: columns[name] for name in LABEL_SCHEMA.names}, schema=LABEL_SCHEMA)


def replace_column(table: pa.Table, name: str, values: object) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def lineage(
    round: int = 0,
    run_id: str = "run-a",
    *,
    parent_snapshot_id: int | None = None,
    shards: Sequence[tuple[str, str]] = SHARDS,
) -> Lineage:
    return Lineage(
        round=round,
        run_id=run_id,
        parent_snapshot_id=parent_snapshot_id,
        parent_run_id=None,
        checkpoint_uri=None,
        checkpoint_digest=None,
        config="fit:\n  batch_size: 512\n",
        config_digest=CONFIG_DIGEST,
        code_revision="0123abc",
        body_source="open",
        body_digest="b" * 64,
        inputs=tuple(
            InputShard(dataset=dataset, shard=shard, url=f"/in/{dataset}/{shard}.tar", size=10, etag="e")
            for dataset, shard in shards
        ),
        started="2026-01-01T00:00:00+00:00",
    )


def stage(
    store: LabelStore,
    round: int = 0,
    run_id: str = "run-a",
    *,
    shards: Sequence[tuple[str, str]] = SHARDS,
    rows: int = 20,
    seed: int = 0,
) -> list[StagedShard]:
    staging = store.staging(round, run_id, CONFIG_DIGEST)
    return [
        staging.write(dataset, shard, label_table(dataset, shard, round=round, rows=rows, seed=seed), readable=rows)
        for dataset, shard in shards
    ]


def publish_rounds(store: LabelStore, count: int) -> None:
    """Rounds 0 .. count-1."""
    for k in range(count):
        parent = store.generation(k - 1) if k else None
        run_id = f"run-{k}"
        record = lineage(k, run_id, parent_snapshot_id=None if parent is None else parent.snapshot_id)
        record = replace(record, parent_run_id=None if parent is None else parent.run_id)
        store.publish(record, stage(store, k, run_id))
