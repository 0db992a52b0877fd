"""Reports on published rounds: with photos and without, on a disk and on S3, and what becomes of them."""

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg

from jobs.inspect_labels import main
from pipeline.labels import LabelStore, NoSuchGenerationError
from pipeline.labels.files.layout import report_file
from pipeline.labels.upkeep.expire import expire
from pipeline.labels.upkeep.relocate import relocate
from pipeline.labels.upkeep.rollback import rollback
from pipeline.report import overlays
from pipeline.report.round_report import PhotoSource, parent_round, round_report, write_round_report
from pipeline.shards import RawSample, list_shards, person_record, write_shard
from schemas.input_shard import InputShard
from schemas.person import Rejection, RejectionReason
from tests.pipeline.labels.label_tables import CONFIG_DIGEST, label_table, lineage, publish_rounds
from tests.pipeline.report.test_figures import in_the_middle, with_vectors
from tests.pipeline.report.test_page import Tags
from tests.services.s3_server import S3Server

ROWS = 6


def written_shards(folder: Path) -> list[InputShard]:
    """The photos of two shards of `label_table`: two people each."""
    folder.mkdir(parents=True, exist_ok=True)
    points = np.column_stack([np.linspace(60, 190, 44), np.linspace(40, 220, 44), np.ones(44)])
    person = person_record(keypoints_2d=points.astype(np.float32), center=(128.0, 128.0), scale=(1.28, 1.28), smpl=None)
    jpeg = simplejpeg.encode_jpeg(np.full((256, 256, 3), 128, np.uint8))
    for shard in ("000000", "000001"):
        samples = [RawSample(key=f"{i:06d}", jpeg=jpeg, people=[person, person]) for i in range(ROWS // 2)]
        write_shard(str(folder / f"{shard}.tar"), samples)
    return list_shards(f"{folder}/{{000000,000001}}.tar")


def table(dataset: str, shard: str, round: int) -> pa.Table:
    """Labels of people who stand in their photos."""
    found = label_table(dataset, shard, round=round, rows=ROWS)
    found = with_vectors(found, "q", in_the_middle(ROWS) + np.radians(4.0 * round))
    found = with_vectors(found, "betas", np.zeros((ROWS, 10)))
    turn = with_vectors(found, "camera_turn", np.zeros((ROWS, 3)))
    return with_vectors(turn, "cam_t", np.tile([0, 0, 45.0], (ROWS, 1)))


def published(store: LabelStore, shards: list[InputShard]) -> LabelStore:
    """Rounds 0 and 1 of these shards; a third of people refused in round 1."""
    for k in range(2):
        parent = store.generation(0) if k else None
        told = replace(lineage(k, f"run-{k}"), inputs=tuple(shards))
        if parent is not None:
            told = replace(told, parent_snapshot_id=parent.snapshot_id, parent_run_id=parent.run_id)
        staging = store.staging(k, told.run_id, CONFIG_DIGEST)
        refused = [
            Rejection(dataset="", shard="", key="k", person=i, reason=RejectionReason.BAD_BOX, detail="d")
            for i in range(3 * k)
        ]
        staged = [
            staging.write(
                item.dataset, item.shard, table(item.dataset, item.shard, k), readable=ROWS,
                rejections=[replace(r, dataset=item.dataset, shard=item.shard) for r in refused],
            )
            for item in shards
        ]  # fmt: skip
        store.publish(told, staged)
    return store


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[InputShard]:
    return written_shards(tmp_path_factory.mktemp("input") / "made")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, shards: list[InputShard]) -> LabelStore:
    return published(LabelStore(str(tmp_path_factory.mktemp("report") / "labels")), shards)


def pictures(page: bytes) -> int:
    return sum(tag == "img" for tag, _ in Tags(page).tags)


def test_a_report_shows_people_and_figures(store: LabelStore) -> None:
    page = round_report(store, 1, 0, PhotoSource())
    found = Tags(page)
    people = 2 * ROWS
    assert pictures(page) == 3 * people * 4  # worst, most changed, by lot; photo, before, after, side
    assert f"Round 1 replaced or made {people} of {people} labels" in found.text
    assert "moved the joints by 4.00°" in found.text
    assert "mean of a joint moved" in found.text
    assert "bad_box" in found.text
    assert "no photo" not in found.text
    assert len(page) < 10_000_000


def test_a_first_round_has_nothing_to_compare_with(store: LabelStore) -> None:
    assert parent_round(store, 0) is None
    found = Tags(round_report(store, 0, None, PhotoSource()))
    assert f"Round 0 has a label for 100.0% of {2 * ROWS} people" in found.text
    assert "Moved most" not in found.text
    assert "drift alarm" not in found.text.lower()


def test_without_photos_it_is_made_all_the_same(store: LabelStore, shards: list[InputShard]) -> None:
    gone = [replace(item, url=item.url + ".gone") for item in shards[:1]]
    for source in (None, PhotoSource(shards=[]), PhotoSource(shards=gone), PhotoSource(body_source="/nowhere")):
        page = round_report(store, 1, 0, source)
        found = Tags(page)
        assert pictures(page) == 0
        assert "no photo" in found.text
        assert "Not everybody is drawn" in found.text
        assert f"of {2 * ROWS} labels" in found.text


def test_a_photo_that_was_damaged_since_costs_its_people_only(store: LabelStore, tmp_path: Path) -> None:
    shards = written_shards(tmp_path / "made")
    file = Path(shards[0].url)
    data = bytearray(file.read_bytes())
    at = data.index(b"\xff\xda") + 8  # the first photo's coefficients
    data[at : at + 30] = b"\xff\xd8" * 15
    file.write_bytes(data)
    page = round_report(store, 1, 0, PhotoSource(shards=list_shards(f"{tmp_path}/made/{{000000,000001}}.tar")))
    assert 0 < pictures(page) <= 3 * 2 * ROWS * 4


def test_names_of_data_sets_and_shards_are_inert(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    store = LabelStore(str(tmp_path / "labels"))
    shard = InputShard(dataset=name, shard='"><img src=x onerror=alert(1)>', url="/in/x.tar", size=1, etag="e")
    published(store, [shard])
    page = Tags(round_report(store, 1, 0, PhotoSource()))
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert [tag for tag, _ in page.tags].count("img") == 0
    assert name in page.text


def test_the_command_makes_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 2)  # of photos that are nowhere: drawing them is tried above
    where = f"storage.root={store.storage.root}"
    assert main(["report", "1", where]) == 0
    file = Path(capsys.readouterr().out.strip())
    assert file == Path(store.storage.url(report_file(1, store.generation(1).snapshot_id)))
    first = file.read_bytes()
    assert main(["report", where]) == 0  # the latest
    assert file.read_bytes() == first
    output = tmp_path / "out.html"
    assert main(["report", "1", "--against", "0", "--output", str(output), where, "data.shards=null"]) == 0
    assert output.read_bytes() == first
    capsys.readouterr()
    assert main(["report", "1", "--against", "1", where]) == 2
    assert "--against 1 is the round itself" in capsys.readouterr().err
    assert main(["report", "7", where]) == 1
    assert "Round 7 is not published" in capsys.readouterr().err
    assert main(["report", "1", "body.gender=male", where]) == 2
    assert "Unknown key" in capsys.readouterr().err


def test_a_comparison_with_another_round_lies_beside_it(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 3)
    write_round_report(store, 2, 1, None)
    write_round_report(store, 2, 0, None)
    of, other = store.generation(2).snapshot_id, store.generation(0).snapshot_id
    assert set(store.storage.names("reports/round=00002")) == {f"{of}.html", f"{of}-against-{other}.html"}
    with pytest.raises(NoSuchGenerationError):
        write_round_report(store, 2, 5, None)


def reports(store: LabelStore) -> set[str]:
    return {file.name.rpartition("reports/")[2].partition("/")[0] for file in store.storage.walk("reports")}


def test_reports_go_with_their_generation_and_move_with_the_store(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 3)
    for k in range(3):
        write_round_report(store, k, parent_round(store, k), None)
    store.storage.write("reports/round=00000/notes.txt", b"somebody's own")
    rollback(store, 1, "bad")
    time.sleep(1.1)
    expire(store)
    assert len(reports(store)) == 3  # too young
    planned = expire(store, older_than=timedelta(0), dry_run=True)
    assert [file.name for file in planned.files if file.name.startswith("reports/round=00002/")]
    assert len(reports(store)) == 3
    expire(store, older_than=timedelta(0))
    assert reports(store) == {"round=00000", "round=00001"}
    expire(store, older_than=timedelta(0), before_round=1)
    assert [file.name for file in store.storage.walk("reports/round=00000")] == ["reports/round=00000/notes.txt"]
    elsewhere = LabelStore(str(tmp_path / "elsewhere"))
    relocate(store, elsewhere, move=True)
    assert reports(elsewhere) == {"round=00000", "round=00001"}
    name = report_file(1, elsewhere.generation(1).snapshot_id)
    assert elsewhere.storage.read(name) == store.storage.read(name)


def test_a_store_on_s3(s3_server: S3Server, tmp_path: Path, shards: list[InputShard]) -> None:
    store = LabelStore(s3_server.url("reports"), f"sqlite:///{tmp_path}/catalog.db")
    published(store, shards)
    url = write_round_report(store, 1, 0, PhotoSource())
    assert url.startswith(f"{s3_server.url('reports')}/reports/round=00001/")
    page = store.storage.read(store.storage.name(url))
    assert pictures(page) == 3 * 2 * ROWS * 4


def test_after_too_long_a_reading_no_other_shard_is_opened(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "READING_SECONDS", -1.0)
    page = round_report(store, 1, 0, PhotoSource())
    assert pictures(page) == 0
    assert "000000: not looked for" in Tags(page).text
