"""Label files as a round leaves them, for the store's benchmark: made and staged by worker processes, as by actors."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa

from pipeline.image.camera import FOCAL
from pipeline.labels import Lineage, StagedShard, Staging
from pipeline.labels.files.columns import VECTORS
from pipeline.rounds.plan import RoundPlan
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER
from schemas.labels import LABEL_SCHEMA

DATASET = "bench"
_PEOPLE_PER_PHOTO = 3
_WORKERS = 2
_FEW = 100  # not worth the start of processes


def shard_name(number: int) -> str:
    return f"{number:06d}"


def key_of(row: int) -> str:
    """As published shards name their photos."""
    return f"aic-train-vitpose/{row // _PEOPLE_PER_PHOTO:09d}"


def stage_round(staging: Staging, files: int, rows: int) -> list[StagedShard]:
    """Stage `files` label files of `rows` rows each, many of them with two processes."""
    stage = partial(_stage, staging, rows)
    if files < _FEW:
        return [stage(number) for number in range(files)]
    spawned = multiprocessing.get_context("spawn")  # the driver has threads, which do not survive a fork
    with ProcessPoolExecutor(_WORKERS, mp_context=spawned) as workers:
        return list(workers.map(stage, range(files), chunksize=max(1, min(32, files // 8))))


def _stage(staging: Staging, rows: int, number: int) -> StagedShard:
    shard = shard_name(number)
    return staging.write(DATASET, shard, labels(shard, staging.round, rows), readable=rows)


def labels(shard: str, round: int, rows: int) -> pa.Table:
    """The same people in every round; 1 in 20 has no label, errors fall by 10 % a round. Vectors are noise."""
    rng = np.random.default_rng([int(shard), round])
    labelled = np.arange(rows) % 20 != 19
    error = np.random.default_rng(int(shard)).uniform(0.005, 0.03, rows) * 0.9**round
    first = np.full(rows, round == 0)
    columns: dict[str, object] = {
        "round": np.full(rows, round, np.int32),
        "dataset": [DATASET] * rows,
        "shard": [shard] * rows,
        "key": [key_of(row) for row in range(rows)],
        "person": (np.arange(rows) % _PEOPLE_PER_PHOTO).astype(np.int32),
        "has_label": labelled,
        "decision": np.where(labelled, "converted" if round == 0 else "improved", "no_label"),
        "start_source": np.where(labelled, "smpl" if round == 0 else "parent", "none"),
        "kp2d_error": pa.array(error, mask=~labelled),
        "parent_kp2d_error": pa.array(error / 0.9, mask=~labelled | first),
        "candidate_kp2d_error": pa.array(error, mask=~labelled),
        "kp2d_heldout_error": pa.array(1.2 * error, mask=~labelled),
        "kp2d_heldout_in_50": pa.array(rng.uniform(0.3, 0.8, rows), mask=~labelled),
        "kp2d_heldout_in_90": pa.array(rng.uniform(0.8, 1.0, rows), mask=~labelled),
        "energy": pa.array(1e3 * error, mask=~labelled),
        "parent_energy": pa.array(1e3 * error / 0.9, mask=~labelled | first),
        "pve_mean_mm": pa.array(rng.uniform(3, 12, rows), mask=~labelled),
        "pve_max_mm": pa.array(rng.uniform(12, 50, rows), mask=~labelled),
        "limit_violation": pa.array(np.zeros(rows), mask=~labelled),
        "iterations": pa.array(rng.integers(3, 30, rows).astype(np.int32), mask=~labelled),
        "focal": pa.array(np.full(rows, FOCAL), mask=~labelled),
        "height_m": pa.array(rng.uniform(1.5, 2.0, rows), mask=~labelled),
        "camera_source": pa.array([CameraSource.HSMR.value] * rows, mask=~labelled),
        "photo_group": pa.array(rng.integers(-(2**63), 2**63, rows)),
        "gender": pa.array([DEFAULT_GENDER] * rows, mask=~labelled),
    }
    for name in VECTORS:
        kind = LABEL_SCHEMA.field(name).type
        values = rng.standard_normal((rows, kind.list_size), np.float32) * labelled[:, None].astype(np.float32)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)
    return pa.table({name: columns[name] for name in LABEL_SCHEMA.names}, schema=LABEL_SCHEMA)


def lineage(plan: RoundPlan) -> Lineage:
    return Lineage(
        round=plan.round,
        run_id=plan.run_id,
        parent_snapshot_id=None if plan.parent is None else plan.parent.snapshot_id,
        parent_run_id=None if plan.parent is None else plan.parent.run_id,
        checkpoint_uri=None,
        checkpoint_digest=None,
        config="{}",
        config_digest=plan.config_digest,
        code_revision="bench",
        body_source="open",
        body_digest=plan.body_digest,
        inputs=plan.inputs,
        started="2026-01-01T00:00:00+00:00",
    )
