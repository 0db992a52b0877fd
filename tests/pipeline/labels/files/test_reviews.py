"""No review is lost: not when two people write at once, not when a writer is killed, not when labels move house."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.labels import LabelStore, LabelStoreError
from pipeline.labels.files.reviews import (
    MAX_NOTE_CHARACTERS,
    REVIEW_SCHEMA,
    Review,
    Verdict,
    latest_reviews,
    new_review,
    read_reviews,
    review_files,
    review_table,
    write_review,
)
from pipeline.labels.upkeep.expire import expire
from pipeline.labels.upkeep.relocate import relocate
from pipeline.storage.opening import open_storage
from schemas.person import PersonId
from tests.pipeline.labels.conftest import Warehouse
from tests.pipeline.labels.label_tables import publish_rounds
from tests.repository import ROOT

WHO = PersonId("photos", "000000", "<script>'; --", 1)


def review(reviewer: str = "anna", verdict: Verdict = Verdict.GOOD, who: PersonId = WHO, note: str = "") -> Review:
    return new_review(who, reviewer=reviewer, round=1, snapshot_id=2**62 + 1, verdict=verdict, note=note)


def write_many(root: str, reviewer: str, count: int) -> None:
    storage = open_storage(root)
    for number in range(count):
        write_review(storage, review(reviewer, who=WHO._replace(person=number)))


def test_what_was_written_is_read(warehouse: Warehouse) -> None:
    storage = warehouse.store.storage
    assert read_reviews(storage) == {}
    written = [review(verdict=verdict, note="ü\n<b>'") for verdict in Verdict]
    for item in written:
        write_review(storage, item)
    known = read_reviews(storage)
    assert list(known.values()) == written
    later = review("ben")
    write_review(storage, later)
    assert list(read_reviews(storage, known).values()) == [*written, later]
    table = review_table(read_reviews(storage).values())
    assert table.schema.equals(REVIEW_SCHEMA)
    assert table["snapshot_id"].to_pylist() == [2**62 + 1] * 6


def test_reviews_are_a_view_of_sql(warehouse: Warehouse) -> None:
    store = warehouse.store
    publish_rounds(store, 1)
    for name in ("anna", "ben"):
        write_review(store.storage, review(name))
    rows = store.query().execute("SELECT reviewer, verdict, key FROM reviews ORDER BY reviewer").fetchall()
    assert rows == [("anna", "good", WHO.key), ("ben", "good", WHO.key)]


def test_the_latest_review_counts_until_it_is_withdrawn() -> None:
    first = review(verdict=Verdict.BAD_LABEL)
    second = replace(review("ben"), time=first.time + timedelta(seconds=1))
    taken_back = replace(review(verdict=Verdict.WITHDRAWN), time=first.time + timedelta(seconds=2))
    assert latest_reviews([second, first]) == {WHO: second}
    assert latest_reviews([first, second, taken_back]) == {}
    other = review(who=WHO._replace(person=2))
    assert latest_reviews([first, other]) == {WHO: first, other.who: other}


def test_two_reviewers_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), name, 40)) for name in ("anna", "ben")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    found = read_reviews(open_storage(str(tmp_path))).values()
    assert sorted((item.reviewer, item.person) for item in found) == sorted(
        (name, number) for name in ("anna", "ben") for number in range(40)
    )


def test_a_killed_writer_leaves_whole_reviews_and_no_other(tmp_path: Path) -> None:
    code = (
        "from tests.pipeline.labels.files.test_reviews import *\n"
        f"storage = open_storage({str(tmp_path)!r})\n"
        "for number in range(100000):\n"
        "    write_review(storage, review(who=WHO._replace(person=number)))\n"
        "    print(number, flush=True)\n"
    )
    for _ in range(3):
        before = len(review_files(open_storage(str(tmp_path))))
        writer = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(15):
            said = int(writer.stdout.readline())
        time.sleep(0.003)
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        said = int(rest[-1]) if rest else said
        found = read_reviews(open_storage(str(tmp_path)))
        assert said + 1 <= len(found) - before <= said + 2  # at most one more than it had time to say


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x00" * 400])
def test_a_file_that_is_no_review_is_named(data: bytes, tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    write_review(storage, review())
    name = review_files(storage)[0]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabelStoreError, match=r"is no review.*Restore it"):
        read_reviews(storage)


def test_strange_files_beside_reviews_are_left_alone(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    write_review(storage, review())
    (tmp_path / "reviews" / ".half.tmp").write_bytes(b"x")
    (tmp_path / "reviews" / "notes.parquet").write_bytes(b"x")
    assert len(read_reviews(storage)) == 1


def test_a_note_is_not_a_novel() -> None:
    with pytest.raises(ValueError, match="at most 2000"):
        review(note="x" * (MAX_NOTE_CHARACTERS + 1))


@pytest.mark.parametrize("move", [False, True])
def test_reviews_move_house_with_the_labels_and_outlive_them(move: bool, tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "old"))
    publish_rounds(store, 2)
    write_review(store.storage, review())
    expire(store, older_than=timedelta(0), before_round=1)
    assert len(read_reviews(store.storage)) == 1
    new = LabelStore(str(tmp_path / "new"))
    relocate(store, new, move=move)
    assert list(read_reviews(new.storage).values()) == list(read_reviews(store.storage).values())
