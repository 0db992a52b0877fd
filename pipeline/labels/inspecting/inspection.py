"""The tables by which one looks at generations: rounds, one round, two rounds, lineage, SQL. No printing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import duckdb

from pipeline.image.camera import FOCAL
from pipeline.image.crop import CROP_PX
from pipeline.labels.files.columns import mask, vectors
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.lineage import Lineage
from pipeline.labels.inspecting.comparison import compare, mean_angle_deg
from pipeline.labels.store import LabelStore
from pipeline.labels.table.generation import Generation

_MEASURES: Final = {
    "kp2d_error": ("kp2d_error", 1),
    "kp2d_error_px": ("kp2d_error", CROP_PX),
    "kp2d_heldout_error_px": ("kp2d_heldout_error", CROP_PX),
    "energy": ("energy", 1),
    "pve_mean_mm": ("pve_mean_mm", 1),
    "pve_max_mm": ("pve_max_mm", 1),
    "limit_violation_rad": ("limit_violation", 1),
    "height_m": ("height_m", 1),
}

_HELD: Final = {"kp2d_heldout_in_50": "50 %", "kp2d_heldout_in_90": "90 %"}

_CAMERAS: Final = f"""
    SELECT dataset, coalesce(camera_source, 'hsmr') AS camera_source, count(*) AS people,
        quantile_cont(coalesce(focal, {FOCAL}), [0.05, 0.5, 0.95]) AS focal_p05_p50_p95,
        quantile_cont(degrees(sqrt(camera_turn[1] ** 2 + camera_turn[2] ** 2)), 0.95) AS turn_p95_deg
    FROM labels WHERE has_label GROUP BY ALL ORDER BY dataset, people DESC"""

_QUANTILES: Final = [0.05, 0.25, 0.5, 0.75, 0.95]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTable:
    """A small named table of plain values, ready to be printed."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def rounds(store: LabelStore) -> ResultTable:
    """All published generations. Raises LabelStoreError when there are none."""
    generations = store.rounds()
    if not generations:
        raise LabelStoreError(store.nothing_published())
    columns = ("round", "run", "published", "people", "labelled", "kp2d_median_px", "decisions", "rejected", "shards",
               "checkpoint", "parent_run")  # fmt: skip
    return ResultTable(title="rounds", columns=columns, rows=tuple(_round_row(item) for item in generations))


def show(store: LabelStore, k: int | None = None) -> list[ResultTable]:
    """Error quantiles per data set, decisions, start sources and rejections of round k (default: the latest)."""
    generation = latest(store) if k is None else store.generation(k)
    k = generation.round
    connection = store.query(k)
    measures = " UNION ALL ".join(
        f"SELECT dataset, {i} AS i, '{name}' AS measure, count({column}) AS people, avg({column}) * {scale} AS mean, "
        f"quantile_cont({column}, {_QUANTILES}) AS q, max({column}) * {scale} AS max, {scale} AS scale "
        "FROM labels GROUP BY dataset"
        for i, (name, (column, scale)) in enumerate(_MEASURES.items())
    )
    quantiles = ", ".join(f"q[{i}] * scale AS p{round(100 * p):02d}" for i, p in enumerate(_QUANTILES, 1))
    errors = f"""
        SELECT dataset, measure, people, mean, {quantiles}, max
        FROM ({measures}) WHERE people > 0 ORDER BY dataset, i"""
    counted = """
        SELECT *, people / sum(people) OVER (PARTITION BY dataset) AS share
        FROM (SELECT dataset, {}, count(*) AS people FROM labels GROUP BY ALL) ORDER BY dataset, people DESC"""
    rejections = tuple(generation.rejections.items()) + tuple(
        ("unreadable shard", shard) for shard in store.lineage(k).unreadable_shards
    )
    return [
        sql(connection, errors, f"errors of round {k}"),
        sql(connection, counted.format("decision"), f"decisions of round {k}"),
        sql(connection, counted.format("start_source"), f"start sources of round {k}"),
        sql(connection, _CAMERAS, f"cameras of round {k}"),
        ResultTable(title=f"rejections of round {k}", columns=("reason", "count"), rows=rejections),
    ]


def diff(store: LabelStore, before: int, after: int, top: int = 5) -> list[ResultTable]:
    """What changed from round `before` to round `after`: per decision, and the `top` rows at either end."""
    store.generation(before)
    changes = compare(store, before, after)
    connection = duckdb.connect()
    connection.register("changes", changes)
    by_decision = f"""
        SELECT decision, count(*) AS people, count(*) FILTER (NOT in_before) AS new_people,
            avg(kp2d_error_before) FILTER (kp2d_error_change IS NOT NULL) * {CROP_PX} AS kp2d_before_px,
            avg(kp2d_error_after) FILTER (kp2d_error_change IS NOT NULL) * {CROP_PX} AS kp2d_after_px,
            avg(kp2d_error_change) AS kp2d_change, avg(kp2d_error_change) * {CROP_PX} AS kp2d_change_px,
            avg(angle_change_deg) AS angle_change_deg, max(angle_change_deg) AS max_angle_change_deg
        FROM changes GROUP BY {{}} ORDER BY people DESC"""
    total = by_decision.replace("SELECT decision", "SELECT 'all' AS decision").format("()")
    extreme = f"""
        SELECT dataset, shard, key, person, decision, kp2d_error_before * {CROP_PX} AS kp2d_before_px,
            kp2d_error_after * {CROP_PX} AS kp2d_after_px, kp2d_error_change * {CROP_PX} AS kp2d_change_px,
            angle_change_deg
        FROM changes WHERE kp2d_error_change IS NOT NULL
        ORDER BY kp2d_error_change {{}}, dataset, shard, key, person LIMIT {top}"""
    name = f"round {before} to {after}"
    decisions = sql(connection, by_decision.format("decision"), f"{name}, by decision of round {after}")
    everyone = sql(connection, total, name)
    return [
        ResultTable(title=decisions.title, columns=decisions.columns, rows=decisions.rows + everyone.rows),
        sql(connection, extreme.format("ASC"), f"{name}, most improved"),
        sql(connection, extreme.format("DESC"), f"{name}, least improved"),
    ]


def person(store: LabelStore, dataset: str, shard: str, key: str, person: int) -> ResultTable:
    """One person through the rounds: decision, errors, and how far q moved from one round to the next."""
    history = store.history(dataset, shard, key, person)
    q = vectors(history["q"])
    labelled = mask(history["has_label"])
    moved = [None] + [
        float(mean_angle_deg(q[i : i + 1], q[i + 1 : i + 2])[0]) if labelled[i] and labelled[i + 1] else None
        for i in range(len(history) - 1)
    ]
    names = ("round", "decision", "start_source", "kp2d_error", "parent_kp2d_error", "candidate_kp2d_error",
             "pve_mean_mm", "pve_max_mm", "limit_violation", "iterations")  # fmt: skip
    rows = [
        (*(row[name] for name in names), None if (error := row["kp2d_error"]) is None else error * CROP_PX, angle)
        for row, angle in zip(history.select(names).to_pylist(), moved, strict=True)
    ]
    columns = (*names, "kp2d_px", "moved_deg")
    return ResultTable(title=f"{dataset}/{shard}/{key} #{person}", columns=columns, rows=tuple(rows))


def lineage(store: LabelStore, round: int) -> list[Lineage]:
    """The chain of generations from `round` back to round 0, through withdrawn and expired ones too."""
    chain = [store.lineage(round)]
    known = store.lineages()
    while (parent := chain[-1].parent_snapshot_id) in known:
        chain.append(store.read_lineage(known[parent]))
    return chain


def lineage_table(item: Lineage) -> ResultTable:
    """One generation's lineage as facts; the configuration and the list of inputs are summed up."""
    facts: dict[str, Any] = {field.name: getattr(item, field.name) for field in fields(item)}
    shards = [f"{shard.dataset}/{shard.shard}" for shard in item.inputs]
    facts["inputs"] = f"{len(shards)} shards, {sum(shard.size for shard in item.inputs)} bytes: {_shortened(shards)}"
    facts["config"] = f"{len(item.config.splitlines())} lines (in full with --format json)"
    errors = {name: q for name, q in item.metrics.items() if name not in _HELD}
    facts["metrics"] = ", ".join(f"{name} p50 {q.p50:.4g}, p95 {q.p95:.4g}" for name, q in errors.items())
    facts["heldout_coverage"] = _heldout_coverage(item)
    if item.forced is not None:
        facts["forced"] = f"{item.forced.reason} (failed: {', '.join(item.forced.checks)})"
    for name in ("decisions", "genders", "skel_digests", "rejections"):
        facts[name] = ", ".join(f"{key} {value}" for key, value in facts[name].items())
    facts["unreadable_shards"] = _shortened(item.unreadable_shards)
    rows = tuple((name, value) for name, value in facts.items() if value not in (None, ""))
    return ResultTable(title=f"lineage of round {item.round}", columns=("fact", "value"), rows=rows)


def sql(connection: duckdb.DuckDBPyConnection, text: str, title: str = "result") -> ResultTable:
    """The rows of a query. Raises duckdb.Error."""
    result = connection.execute(text)
    columns = tuple(str(column[0]) for column in result.description or ())
    return ResultTable(title=title, columns=columns, rows=tuple(result.fetchall()) if columns else ())


def latest(store: LabelStore) -> Generation:
    """Raises LabelStoreError when nothing is published."""
    generations = store.rounds()
    if not generations:
        raise LabelStoreError(store.nothing_published())
    return generations[-1]


def _round_row(item: Generation) -> tuple[Any, ...]:
    median = item.metrics.get("kp2d_error")
    decisions = ", ".join(f"{name} {count}" for name, count in item.decisions.items())
    return (
        item.round,
        item.run_id,
        item.published.strftime("%Y-%m-%dT%H:%M:%SZ"),
        item.rows,
        item.rows - item.decisions.get("no_label", 0),
        None if median is None else median.p50 * CROP_PX,
        decisions,
        sum(item.rejections.values()),
        item.files,
        item.checkpoint_uri,
        item.parent_run_id,
    )


def _heldout_coverage(item: Lineage) -> str:
    """Empty for generations from before it was measured, and where nobody was in the sample."""
    found = [(level, item.metrics[name]) for name, level in _HELD.items() if name in item.metrics]
    shares = ", ".join(f"{level} regions hold {q.mean:.1%}" for level, q in found)
    return f"{shares} of the hidden keypoints of {found[0][1].count} people" if found else ""


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, ... {names[-1]}"
