"""The audit: every way in which a generation can be wrong is found, named and shown, and publishes nothing."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labels import AuditConfig, AuditFailedError, LabelStore, Lineage, StagedShard
from pipeline.labels.files.columns import counts
from pipeline.labels.publishing.audit_report import CHECKS, FORCEABLE
from pipeline.labels.publishing.shard_audit import audit_shard
from schemas.person import Rejection, RejectionReason
from tests.pipeline.labels.label_tables import (
    CONFIG_DIGEST,
    SHARDS,
    label_table,
    lineage,
    publish_rounds,
    replace_column,
    stage,
)

Damage = Callable[[pa.Table], pa.Table]


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(str(tmp_path / "labels"))


def rejection(shard: str = "000000", reason: RejectionReason = RejectionReason.BAD_BOX) -> Rejection:
    return Rejection(dataset="photos", shard=shard, key=None, person=None, reason=reason, detail="side nan px")


def first_row(column: str, value: object) -> Damage:
    return lambda table: replace_column(table, column, [value, *table[column].to_pylist()[1:]])


def raised(table: pa.Table, by: float) -> list[float | None]:
    return [None if error is None else error + by for error in table["kp2d_error"].to_pylist()]


def not_finite(table: pa.Table) -> pa.Table:
    q = table["q"].to_pylist()
    return replace_column(table, "q", [[float("nan"), *q[0][1:]], *q[1:]])


def second_is_first(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)])


def unlabelled_not_zero(table: pa.Table) -> pa.Table:
    betas = table["betas"].to_pylist()
    return replace_column(table, "betas", [*betas[:9], [0.5] * 10, *betas[10:]])


def without_energies(table: pa.Table) -> pa.Table:
    """As written by code from before there were any."""
    none = [None] * len(table)
    return replace_column(replace_column(table, "energy", none), "parent_energy", none)


def of_before(damage: Damage) -> Damage:
    return lambda table: damage(without_energies(table))


def as_parent(column: str) -> Damage:
    """Everybody's figure that of the parent."""
    return lambda table: replace_column(table, f"parent_{column}", table[column].to_pylist())


def kept(damage: Damage) -> Damage:
    return lambda table: first_row("decision", "kept_not_better")(damage(table))


DAMAGES: dict[str, tuple[str, Damage]] = {
    "q is NaN": ("finite_vectors", not_finite),
    "a person twice": ("unique_identity", second_is_first),
    "vector of an unlabelled row": ("unlabelled_zero", unlabelled_not_zero),
    "another round": ("own_shard", first_row("round", 7)),
    "another shard": ("own_shard", first_row("shard", "999999")),
    "unknown decision": ("decisions_known", first_row("decision", "adopted")),
    "unknown start": ("decisions_known", first_row("start_source", "dream")),
    "label without label": ("decisions_known", first_row("decision", "no_label")),
    "NaN error": ("null_not_nan", first_row("kp2d_error", float("nan"))),
    "infinite PVE": ("null_not_nan", first_row("pve_max_mm", float("inf"))),
    "a row lost": ("one_row_per_person", lambda table: table.slice(1)),
    "improved to worse": ("energy_not_above_parent", first_row("energy", 900.0)),
    "improved to the same": ("energy_not_above_parent", as_parent("energy")),
    "kept but worse": ("energy_not_above_parent", kept(first_row("energy", 900.0))),
    "before energies: improved to worse": ("error_not_above_parent", of_before(first_row("kp2d_error", 0.9))),
    "before energies: improved to the same": ("error_not_above_parent", of_before(as_parent("kp2d_error"))),
    "before energies: kept but worse": ("error_not_above_parent", of_before(kept(first_row("kp2d_error", 0.9)))),
    "more probable, far from its keypoints": ("error_not_above_generation", first_row("kp2d_error", 0.9)),
    "kept, yet not what it was": (
        "error_not_above_generation",
        kept(lambda t: replace_column(t, "kp2d_error", raised(t, 0.01))),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_rows_fail_their_check_and_publish_nothing(store: LabelStore, name: str) -> None:
    check, damage = DAMAGES[name]
    publish_rounds(store, 1)
    staged = stage(store, 1, "run-b")
    table = damage(label_table("photos", "000001", round=1))
    bad = store.staging(1, "run-b", CONFIG_DIGEST).write("photos", "000001", table, readable=20)
    record = lineage(1, "run-b", parent_snapshot_id=store.generation(0).snapshot_id)
    with pytest.raises(AuditFailedError, match=rf"Round 1 failed its audit.*\n.*{check}") as caught:
        store.publish(record, [staged[0], bad, staged[2]])
    failed = {item.name: item for item in caught.value.report.failed}
    assert failed[check].failures >= 1
    assert "photos/000001" in failed[check].examples[0]
    assert [generation.round for generation in store.rounds()] == [0]


def test_a_sound_generation_passes_every_check(store: LabelStore) -> None:
    report = store.publish(lineage(), stage(store)).report
    assert report is not None
    assert [check.name for check in report.checks] == list(CHECKS)
    assert report.passed


def audit_of(store: LabelStore, staged: list[StagedShard], **options: Any) -> dict[str, str]:
    with pytest.raises(AuditFailedError) as caught:
        store.publish(lineage(), staged, **options)
    assert store.rounds() == []
    return {check.name: " ".join((check.figures, *check.examples)) for check in caught.value.report.failed}


def test_files_changed_after_staging_are_found(store: LabelStore) -> None:
    staged = stage(store)
    Path(store.storage.url(staged[0].data_file)).unlink()
    path = Path(store.storage.url(staged[1].data_file))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert "missing" in audit_of(store, staged)["files_intact"]


def test_a_sidecar_that_counts_otherwise_is_found(store: LabelStore) -> None:
    staged = stage(store)
    staged[0] = replace(staged[0], decisions={"converted": 20})
    assert "photos/000000: 20 rows" in audit_of(store, staged)["counts_match"]


def test_every_input_must_be_accounted_for(store: LabelStore) -> None:
    staged = stage(store)
    assert "video/000000: neither staged nor failed" in audit_of(store, staged[:2])["inputs_accounted"]
    assert "photos/000000: listed 2 times" in audit_of(store, [*staged, staged[0]])["inputs_accounted"]
    extra = stage(store, shards=(("photos", "000009"),))
    assert "photos/000009: no input" in audit_of(store, [*staged, *extra])["inputs_accounted"]


def test_zero_rows_are_never_published(store: LabelStore) -> None:
    generous = AuditConfig(max_rejected_share=1.0, max_unreadable_share=1.0)
    assert "3 shards staged" in audit_of(store, stage(store, rows=0), config=generous)["not_empty"]


def test_too_many_rejected_people(store: LabelStore) -> None:
    staged = stage(store)
    staged[0] = replace(staged[0], rejections=tuple(rejection() for _ in range(61)))
    found = audit_of(store, staged)["rejected_share"]
    assert found.startswith("61 of 121 = 50.4%, at most 50.0%")
    assert "side nan px" in found
    repaired = replace(staged[0], rejections=(rejection(reason=RejectionReason.SMPL_NOT_FINITE),) * 100)
    assert store.publish(lineage(), [repaired, *staged[1:]]).generation.rejections == {"smpl_not_finite": 100}


def test_too_many_unreadable_shards(store: LabelStore) -> None:
    staged = stage(store)
    broken = [rejection(shard, RejectionReason.SHARD_UNREADABLE) for shard in ("000000", "000001")]
    assert "2 of 3 = 66.7%" in audit_of(store, staged[2:], unreadable=broken)["unreadable_share"]
    publication = store.publish(lineage(), staged[1:], broken[:1])
    assert publication.generation.files == 2
    assert store.lineage(0).unreadable_shards == ("photos/000000",)
    assert publication.generation.rejections == {"shard_unreadable": 1}


def test_parent_rows_must_be_present_or_carried_over(store: LabelStore) -> None:
    publish_rounds(store, 1)
    staged = stage(store, 1, "run-b")
    record = lineage(1, "run-b", parent_snapshot_id=store.generation(0).snapshot_id, shards=SHARDS[:2])
    with pytest.raises(AuditFailedError, match=r"parent_rows_present.*\n +video/000000: the whole shard"):
        store.publish(record, staged[:2])
    table = label_table("photos", "000001", round=1)
    staging = store.staging(1, "run-b", CONFIG_DIGEST)
    short = staging.write("photos", "000001", table.slice(1), readable=19)
    with pytest.raises(AuditFailedError, match=r"parent_rows_present: 1 failed.*\n +photos/000001/000000 #0"):
        store.publish(replace(record, inputs=lineage().inputs), [staged[0], short, staged[2]])
    kept = replace_column(table, "decision", ["kept_unreadable", *table["decision"].to_pylist()[1:]])
    carried = staging.write("photos", "000001", kept, readable=19)
    assert store.publish(record, [staged[0], carried, staged[2]]).generation.rows == 60


def with_first_shard(store: LabelStore, damage: Damage) -> tuple[Lineage, list[StagedShard]]:
    """A round 1 whose first shard is damaged."""
    publish_rounds(store, 1)
    record = lineage(1, "run-b", parent_snapshot_id=store.generation(0).snapshot_id)
    staged = stage(store, 1, "run-b")
    table = damage(label_table("photos", "000000", round=1))
    bad = store.staging(1, "run-b", CONFIG_DIGEST).write("photos", "000000", table, readable=20)
    return record, [bad, *staged[1:]]


def everybody_worse(by: float) -> Damage:
    """Errors of everybody above the record of the parent generation; in its own row the parent is worse still."""

    def damage(table: pa.Table) -> pa.Table:
        worse = replace_column(table, "kp2d_error", raised(table, by))
        return replace_column(worse, "parent_kp2d_error", raised(table, 2 * by))

    return damage


def test_errors_must_not_exceed_the_parent_generation(store: LabelStore) -> None:
    record, staged = with_first_shard(store, of_before(everybody_worse(0.01)))
    with pytest.raises(AuditFailedError, match="error_not_above_generation: 18 failed"):
        store.publish(record, staged)
    assert store.publish(record, staged, config=AuditConfig(error_tolerance=0.02)).generation.round == 1


@pytest.mark.parametrize(("by", "failed"), [(0.01, 0), (0.06, 18)])
def test_more_probable_labels_may_follow_the_noise_less_but_not_lose_the_person(
    store: LabelStore, by: float, failed: int
) -> None:
    record, staged = with_first_shard(store, everybody_worse(by))
    generous = {"quantile_tolerance": 20.0}
    if failed:
        with pytest.raises(AuditFailedError, match=f"error_not_above_generation: {failed} failed"):
            store.publish(record, staged, config=AuditConfig(**generous))
    generation = store.publish(record, staged, config=AuditConfig(**generous, gross_error_tolerance=0.07)).generation
    assert generation.round == 1


def test_rows_without_energies_are_not_judged_by_them(store: LabelStore) -> None:
    new = replace_column(label_table("photos", "000000", round=1), "parent_energy", [None] * 20)
    record, staged = with_first_shard(store, lambda table: new)
    assert store.publish(record, staged).generation.round == 1


def heldout_times(factor: float) -> Damage:
    return lambda table: replace_column(
        table, "kp2d_heldout_error", [e and factor * e for e in table["kp2d_heldout_error"].to_pylist()]
    )


def heldout_round(store: LabelStore, factor: float) -> tuple[Lineage, list[StagedShard]]:
    """A round 1 whose held-out errors are those of round 0 times this: 54 people have one."""
    publish_rounds(store, 1)
    staging = store.staging(1, "run-b", CONFIG_DIGEST)
    damage = heldout_times(factor / 0.9)
    staged = [staging.write(d, s, damage(label_table(d, s, round=1)), readable=20) for d, s in SHARDS]
    return lineage(1, "run-b", parent_snapshot_id=store.generation(0).snapshot_id), staged


def test_the_heldout_error_must_not_rise(store: LabelStore) -> None:
    record, staged = heldout_round(store, 1.2)
    with pytest.raises(AuditFailedError, match=r"heldout_quantiles: kp2d_heldout_error mean .* 54 people") as caught:
        store.publish(record, staged)
    (check,) = caught.value.report.failed
    assert [example.split()[0] for example in check.examples] == ["mean", "p50", "p95"]
    generation = store.publish(record, staged, force="the detector was replaced").generation
    assert generation.forced is not None
    assert list(generation.forced.checks) == ["heldout_quantiles"]


def test_the_heldout_error_may_rise_within_its_tolerance(store: LabelStore) -> None:
    record, staged = heldout_round(store, 1.09)
    generation = store.publish(record, staged).generation
    assert generation.metrics["kp2d_heldout_error"].count == 54
    assert {"energy", "parent_energy"} <= generation.metrics.keys()


def test_the_heldout_error_of_few_people_is_not_judged(store: LabelStore) -> None:
    record, staged = heldout_round(store, 1.2)
    table = label_table("photos", "000000", round=1)
    few = heldout_times(1.2 / 0.9)(table)
    none = replace_column(table, "kp2d_heldout_error", [None] * 20)
    staging = store.staging(1, "run-b", CONFIG_DIGEST)
    moved = [("photos", "000001"), ("video", "000000")]
    staged = [staging.write("photos", "000000", few, readable=20)] + [
        staging.write(
            d,
            s,
            replace_column(label_table(d, s, round=1), "kp2d_heldout_error", none["kp2d_heldout_error"].to_pylist()),
            readable=20,
        )
        for d, s in moved
    ]
    report = store.publish(record, staged).report
    assert report is not None
    (check,) = [check for check in report.checks if check.name == "heldout_quantiles"]
    assert check.figures == "18 people to compare, judged from 30 on"


def harder_people(store: LabelStore) -> tuple[Lineage, list[StagedShard]]:
    """A round 1 in which nobody got worse, but a new shard of people with large errors joined."""
    publish_rounds(store, 1)
    new = ("photos", "000009")
    table = label_table(*new, round=1, rows=40)
    hard = replace_column(table, "kp2d_error", raised(table, 0.2))
    hard = replace_column(hard, "parent_kp2d_error", [None] * 40)
    hard = replace_column(
        hard, "decision", ["first_label" if d == "improved" else d for d in table["decision"].to_pylist()]
    )
    staged = [*stage(store, 1, "run-b"), store.staging(1, "run-b", CONFIG_DIGEST).write(*new, hard, readable=40)]
    parent = store.generation(0).snapshot_id
    return lineage(1, "run-b", parent_snapshot_id=parent, shards=(*SHARDS, new)), staged


def test_error_quantiles_must_not_exceed_the_parents(store: LabelStore) -> None:
    record, staged = harder_people(store)
    with pytest.raises(
        AuditFailedError, match=r"error_quantiles: kp2d_error p50 .* p95 0.2\d+ \(parent 0.0\d+"
    ) as caught:
        store.publish(record, staged)
    (check,) = caught.value.report.failed
    assert check.examples[-1].startswith("p95 of kp2d_error")
    assert "--force-publish 'REASON'" in str(caught.value)
    assert store.publish(record, staged, config=AuditConfig(quantile_tolerance=20)).generation.round == 1


def test_a_forced_publication_records_why_and_what_failed(store: LabelStore) -> None:
    record, staged = harder_people(store)
    with pytest.raises(ValueError, match="needs a reason"):
        store.publish(record, staged, force=" ")
    generation = store.publish(record, staged, force="crowd photos joined").generation
    forced = store.lineage(1).forced
    assert forced is not None
    assert forced == generation.forced == store.generation(1).forced
    assert forced.reason == "crowd photos joined"
    assert list(forced.checks) == ["error_quantiles"]
    assert "p95 0.2" in forced.checks["error_quantiles"]


def test_a_reason_given_in_vain_is_not_recorded(store: LabelStore) -> None:
    assert store.publish(lineage(), stage(store), force="just in case").generation.forced is None


@pytest.mark.parametrize("name", ["q is NaN", "a person twice", "a row lost", "improved to worse", "another shard"])
def test_broken_generations_cannot_be_forced(store: LabelStore, name: str) -> None:
    check, damage = DAMAGES[name]
    assert check not in FORCEABLE
    staging = store.staging(0, "run-a", CONFIG_DIGEST)
    bad = [staging.write(d, s, damage(label_table(d, s)), readable=20) for d, s in SHARDS]
    if name == "improved to worse":
        bad = [staging.write(d, s, damage(as_parent("energy")(label_table(d, s))), readable=20) for d, s in SHARDS]
    with pytest.raises(AuditFailedError, match=f"No reason can publish it: .*{check}"):
        store.publish(lineage(), bad, force="I insist")
    assert store.rounds() == []


SIDECAR = StagedShard(
    round=1,
    run_id="run-a",
    dataset="photos",
    shard="000000",
    rows=0,
    readable=0,
    file_bytes=0,
    sha256="",
    config_digest=CONFIG_DIGEST,
    decisions={},
    rejections=(),
)


@given(
    rows=st.integers(0, 12),
    order=st.randoms(use_true_random=False),
    worse=st.sets(st.integers(0, 11)),
    lost=st.sets(st.integers(0, 11)),
    energies=st.booleans(),
)
def test_the_audit_counts_exactly_the_rows_at_fault(
    rows: int, order: random.Random, worse: set[int], lost: set[int], energies: bool
) -> None:
    """Whatever the order of the rows, and whichever of them are worse than, or missing from, the parent generation."""
    table = label_table("photos", "000000", round=1, rows=rows)
    parent = label_table("photos", "000000", round=0, rows=rows)
    labelled = np.asarray(table["has_label"])
    worse = {i for i in worse if i < rows and labelled[i]}
    keep = [i for i in range(rows) if i not in lost]
    errors = [2.0 if i in worse else value for i, value in enumerate(table["kp2d_error"].to_pylist())]
    order.shuffle(keep)
    table = replace_column(table, "kp2d_error", errors)
    table = replace_column(table, "energy", [e and 1e3 * e for e in errors]) if energies else without_energies(table)
    table = table.take(pa.array(keep, pa.int64()))
    staged = replace(SIDECAR, rows=len(keep), readable=len(keep), decisions=counts(table["decision"]))
    failures = {name: count for name, (count, _) in audit_shard(table, staged, parent).failures.items()}
    expected = {
        "energy_not_above_parent": len(worse - lost) if energies else 0,
        "error_not_above_parent": 0 if energies else len(worse - lost),
        "error_not_above_generation": len(worse - lost),
        "parent_rows_present": rows - len(keep),
    }
    assert failures == {name: count for name, count in expected.items() if count}
