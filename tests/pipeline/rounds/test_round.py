"""Rounds on a real local Ray: complete, the same however the work is split, and none the worse for deaths."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.labels import AlreadyPublishedError, AuditFailedError, LabelStore, vectors
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds import actor
from pipeline.rounds.actor import ActorBrief, ShardActor, StagingError
from pipeline.rounds.driver import RoundResult, run_round
from pipeline.rounds.plan import plan_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import ShardTask, UnreadableShardError
from pipeline.rounds.summary import summary_table
from pipeline.runtime.config import ConfigError, load_config
from schemas.input_shard import InputShard
from schemas.labels import LABEL_SCHEMA
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.pipeline.rounds.process_killer import ReaderKiller

pytestmark = pytest.mark.usefixtures("local_ray")
PEOPLE = 10

Refine = Callable[..., RoundResult]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("input") / "made", make_samples(PEOPLE), 3)


def settings(root: Path, *overrides: str) -> RoundConfig:
    quiet = [
        f"storage.root={root}",
        "run.progress=false",
        "run.report=false",
        "fit.device=cpu",
        "fit.batch_size=2",
        "run.actors=2",
    ]
    return load_config(RoundConfig, [*quiet, *overrides])


@pytest.fixture(scope="module")
def reference(shards: str, tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Rounds 0 and 1, uninterrupted."""
    root = tmp_path_factory.mktemp("reference")
    run_round(0, settings(root, f"data.shards={shards}"))
    run_round(1, settings(root))
    return LabelStore(str(root))


def rows_by_key(store: LabelStore, round: int) -> pa.Table:
    return store.read_all(round).sort_by([("key", "ascending"), ("person", "ascending")])


def assert_same_labels(one: pa.Table, other: pa.Table) -> None:
    for column in ("key", "person", "has_label", "decision", "start_source"):
        assert one[column].to_pylist() == other[column].to_pylist(), column
    for column in ("q", "betas", "cam_t"):
        np.testing.assert_allclose(vectors(one[column]), vectors(other[column]), rtol=1e-4, atol=1e-4, err_msg=column)


def test_a_generation_has_one_row_per_person_and_its_lineage(reference: LabelStore, shards: str) -> None:
    first, second = reference.lineage(0), reference.lineage(1)
    assert first.rows == second.rows == PEOPLE
    assert [item.shard for item in second.inputs] == ["000000", "000001", "000002"], "taken from round 0"
    assert second.parent_run_id == first.run_id
    assert "batch_size: 2" in second.config
    assert reference.read_all(1).schema.equals(LABEL_SCHEMA)
    assert sum(first.decisions.values()) == PEOPLE
    assert first.decisions["no_label"] == PEOPLE // 4


def test_round_1_lowers_the_error_of_what_it_replaces(reference: LabelStore) -> None:
    table = reference.read_all(1).to_pylist()
    improved = [row for row in table if row["decision"] == "improved"]
    assert improved
    assert all(row["kp2d_error"] < row["parent_kp2d_error"] for row in improved)
    assert all(row["has_label"] for row in table), "people without SMPL got a first label"


def test_the_split_of_the_work_does_not_change_labels(reference: LabelStore, tmp_path: Path) -> None:
    backwards = list(reversed(make_samples(PEOPLE)))
    pattern = write_shards(tmp_path / "made", backwards, 2)
    other = tmp_path / "labels"
    run_round(0, settings(other, f"data.shards={pattern}", "run.actors=1", "fit.batch_size=7"))
    run_round(1, settings(other, "run.actors=1", "fit.batch_size=3"))
    for round in (0, 1):
        assert_same_labels(rows_by_key(LabelStore(str(other)), round), rows_by_key(reference, round))


def test_the_same_run_again_changes_nothing(reference: LabelStore, shards: str) -> None:
    before = reference.generation(0)
    again = run_round(0, settings(Path(reference.storage.root), f"data.shards={shards}"))
    assert again.already_published
    assert again.generation == before


def test_another_run_of_a_published_round_is_refused(reference: LabelStore, shards: str) -> None:
    with pytest.raises(AlreadyPublishedError, match="Continue with round 2"):
        run_round(1, settings(Path(reference.storage.root), "fit.batch_size=5"))


def test_the_run_id_depends_on_what_changes_labels_only(shards: str, tmp_path: Path) -> None:
    def run_id(*overrides: str, body_digest: str = "body") -> str:
        config = settings(tmp_path, f"data.shards={shards}", *overrides)
        return plan_round(0, config, LabelStore(str(tmp_path)), body_digest).run_id

    listed = f"data.shards={shards.replace('{000000..000002}', '{000002,000000,000001}')}"
    for same in (
        "run.actors=1",
        "run.attempts=2",
        "audit.max_rejected_share=0.1",
        f"storage.root={tmp_path}/b",
        listed,
    ):
        assert run_id(same) == run_id(), same
    different = [run_id(), run_id("fit.batch_size=5"), run_id("fit.dtype=float32"), run_id(body_digest="other")]
    fewer = f"data.shards={shards.replace('{000000..000002}', '{000000..000001}')}"
    different += [run_id(fewer), run_id("data.dataset=other"), run_id("accept.margin_relative=0.5")]
    assert len(set(different)) == len(different)


def test_an_actor_that_is_killed_costs_nothing_but_time(reference: LabelStore, shards: str, tmp_path: Path) -> None:
    config = settings(tmp_path / "labels", f"data.shards={shards}")
    with ReaderKiller(shards.replace("{000000..000002}", "000001"), kills=1) as killer:
        run_round(0, config)
    assert killer.killed == 1
    store = LabelStore(str(tmp_path / "labels"))
    assert rows_by_key(store, 0).equals(rows_by_key(reference, 0)), "bit for bit"
    assert not store.lineage(0).unreadable_shards


def test_a_shard_that_cannot_be_processed_keeps_its_parent_rows(shards: str, tmp_path: Path) -> None:
    root = tmp_path / "labels"
    run_round(0, settings(root, f"data.shards={shards}"))
    with ReaderKiller(shards.replace("{000000..000002}", "000001")) as killer:
        run_round(1, settings(root, "run.attempts=2"))
    assert killer.killed == 2, "quarantined after its second victim"
    run_round(2, settings(root, f"data.shards={shards.replace('{000000..000002}', '{000000..000001}')}"))
    store = LabelStore(str(root))
    for round, shard in ((1, "000001"), (2, "000002")):
        assert store.lineage(round).unreadable_shards == (f"made/{shard}",)
        assert store.generation(round).rows == PEOPLE
        kept = store.read(round, "made", shard)
        assert set(kept["decision"].to_pylist()) == {"kept_unreadable"}
        assert kept["q"].equals(store.read(round - 1, "made", shard)["q"])
    assert [item.etag for item in store.lineage(2).inputs if item.shard == "000002"] == ["not given"]


def test_an_unreadable_shard_is_recorded_and_the_rest_published(shards: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    pattern = write_shards(folder, make_samples(PEOPLE), 3)
    (folder / "000002.tar").write_bytes(b"this is not a tar file" * 100)
    run_round(0, settings(tmp_path / "labels", f"data.shards={pattern}"))
    lineage = LabelStore(str(tmp_path / "labels")).lineage(0)
    assert lineage.unreadable_shards == ("made/000002",)
    assert lineage.rows == 7


def test_mostly_unreadable_input_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "000000.tar").write_bytes(b"this is not a tar file" * 100)
    with pytest.raises(AuditFailedError, match=r"(?s)not_empty.*unreadable_share"):
        run_round(0, settings(tmp_path / "labels", f"data.shards={tmp_path}/made/000000.tar"))
    assert not LabelStore(str(tmp_path / "labels")).rounds()


def test_a_store_that_cannot_be_written_ends_the_round_at_once(shards: str, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "data").write_text("a file where a folder must be")
    with pytest.raises(StagingError, match="data"):
        run_round(0, settings(tmp_path / "labels", f"data.shards={shards}"))


def test_a_shard_that_fails_while_the_store_is_gone_ends_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise an outage is met shard by shard, every one tried for a minute, three times."""
    models = SimpleNamespace(lenses=KnownLenses(), predictor=None)
    monkeypatch.setattr(actor, "load_models", lambda *brief: models)
    root = tmp_path / "labels"
    staging = LabelStore(str(root)).staging(0, "run-a", "c" * 64)
    brief = ActorBrief(
        round=0, config=settings(root), device="cpu", staging=staging, parent_files={}, lenses=KnownLenses()
    )
    source = InputShard(url=f"{tmp_path}/gone.tar", dataset="made", shard="gone", size=1, etag="1")
    task = ShardTask(dataset="made", shard="gone", source=source)
    with pytest.raises(UnreadableShardError):
        ShardActor(brief).process(task)
    root.rename(tmp_path / "elsewhere")
    root.write_text("a file where a folder must be")
    with pytest.raises(StagingError, match=r"labels does not answer.*gone\.tar.*start the round again"):
        ShardActor(brief).process(task)


def test_round_0_needs_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.shards="):
        run_round(0, settings(tmp_path))


def test_the_summary_counts_every_person(reference: LabelStore) -> None:
    result = RoundResult(generation=reference.generation(1), run_id="", already_published=True, reused=0, computed=0)
    people = list(summary_table(reference, result).columns[2].cells)
    assert sum(int(str(cell)) for cell in people) == PEOPLE
