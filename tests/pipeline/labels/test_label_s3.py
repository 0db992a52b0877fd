"""The store on a real S3 server: the same behaviour as on a disk."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.labels import AlreadyPublishedError, CatalogError, LabelStore, read_labels
from pipeline.labels.exchange.export_parquet import export_file
from pipeline.labels.upkeep.rollback import rollback
from schemas.input_shard import ShardId
from tests.pipeline.labels.label_tables import CONFIG_DIGEST, label_table, lineage, publish_rounds, stage
from tests.repository import ROOT
from tests.services.s3_server import S3Server


@pytest.fixture
def root(s3_server: S3Server, request: pytest.FixtureRequest) -> str:
    return f"s3://{s3_server.bucket}/labels/{request.node.name}"


def test_publish_read_and_query(root: str, tmp_path: Path) -> None:
    store = LabelStore(root, f"sqlite:///{tmp_path}/catalog.db")
    publish_rounds(store, 2)
    assert [generation.rows for generation in store.rounds()] == [60, 60]
    url = store.files(1)[ShardId("video", "000000")]
    assert url.startswith(f"{root}/data/round=00001/run=run-1/")
    assert read_labels(url).equals(label_table("video", "000000", round=1))
    rows = store.query().execute("SELECT round, count(*) FROM labels GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [(0, 60), (1, 60)]
    assert store.lineage(1).parent_snapshot_id == store.generation(0).snapshot_id
    with pytest.raises(AlreadyPublishedError):
        store.publish(lineage(0, "run-b"), stage(store, 0, "run-b"))
    with pytest.raises(CatalogError, match="does not know them"):
        LabelStore(root, f"sqlite:///{tmp_path}/other.db").rounds()


def test_staged_shards_are_found_again_and_damage_is_noticed(root: str) -> None:
    staging = LabelStore(root, "sqlite:////unused.db").staging(0, "run-a", CONFIG_DIGEST)
    staged = staging.write("a b#1", "000000", label_table("a b#1", "000000"), readable=20)
    assert staging.find("a b#1", "000000") == staged
    staging.storage.write(staged.data_file, b"PAR1")
    assert staging.find("a b#1", "000000") is None
    assert staging.storage.names("nowhere") == []
    with pytest.raises(FileNotFoundError):
        staging.storage.read("nowhere")


def test_a_prefix_that_was_emptied_holds_no_file(root: str) -> None:
    """SeaweedFS goes on to list it, as an empty folder."""
    storage = LabelStore(root, "sqlite:////unused.db").storage
    storage.write("data/round=00000/driver.json", b"{}")
    assert [file.name for file in storage.walk("data/round=00000")] == ["data/round=00000/driver.json"]
    storage.delete("data/round=00000/driver.json")
    assert list(storage.walk("data/round=00000")) == []


def test_credentials_are_written_nowhere(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every object, every local file, the log and what is printed, after publishing, failing and looking at it."""
    monkeypatch.setenv("PGPASSWORD", secret := "sesame-0123456789")
    root, catalog = s3_server.url("secrets"), f"sqlite:///{tmp_path}/catalog.db"
    caplog.set_level(logging.DEBUG, logger="pipeline")
    store = LabelStore(root, catalog)
    publish_rounds(store, 2)
    rollback(store, 0, "to see what is written")
    export_file(store, 0, f"{tmp_path}/labels.parquet")
    where = [f"storage.root={root}", f"storage.catalog={catalog}"]
    printed = [
        subprocess.run([sys.executable, f"{ROOT}/jobs/{job}", *command, *where], capture_output=True, check=False)
        for job, *command in (
            ("inspect_labels.py", "lineage", "0", "--format", "json"),
            ("inspect_labels.py", "show", "7"),
            ("manage_labels.py", "verify"),
        )
    ]
    written = {file.name: store.storage.read(file.name) for file in store.storage.walk()}
    assert any(name.endswith(".metadata.json") for name in written)
    written |= {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written |= {str(process.args): process.stdout + process.stderr for process in printed}
    written["log"] = caplog.text.encode()
    keys = [s3_server.env["AWS_ACCESS_KEY_ID"], s3_server.env["AWS_SECRET_ACCESS_KEY"], secret]
    assert [name for name, data in written.items() if any(key.encode() in data for key in keys)] == []


def test_a_catalog_of_another_root_is_refused(s3_server: S3Server, tmp_path: Path) -> None:
    catalog = f"sqlite:///{tmp_path}/one.db"
    publish_rounds(LabelStore(s3_server.url("first"), catalog), 1)
    with pytest.raises(CatalogError, match=r"holds the labels of s3://.*/first, not of s3://.*/second"):
        LabelStore(s3_server.url("second"), catalog).rounds()
