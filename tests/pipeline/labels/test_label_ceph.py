"""The store on an older S3, Debian's Ceph RADOS Gateway: `make test-ceph`. Skipped, with the reason, if not there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.labels import AlreadyPublishedError, LabelStore
from pipeline.labels.upkeep.expire import expire
from pipeline.labels.upkeep.forget import forget
from pipeline.labels.upkeep.relocate import relocate
from pipeline.labels.upkeep.rollback import rollback
from pipeline.labels.upkeep.verify import verify
from tests.pipeline.labels.label_tables import lineage, publish_rounds, stage
from tests.services.ceph_server import CephServer, missing_programs, running_ceph

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephServer]:
    """A running gateway."""
    if missing := missing_programs():
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install radosgw ceph-mon ceph-osd")
    with running_ceph(tmp_path_factory.mktemp("ceph")) as server:
        yield server


def test_a_life_of_labels_on_ceph(ceph: CephServer, tmp_path: Path) -> None:
    """Publish, race, roll back, forget, expire, verify and move, as on any other S3."""
    store = LabelStore(ceph.url("labels"), f"sqlite:///{tmp_path}/catalog.db")
    publish_rounds(store, 3)
    assert store.query().execute("SELECT count(*) FROM labels").fetchall() == [(180,)]
    with pytest.raises(AlreadyPublishedError):
        store.publish(lineage(0, "run-b"), stage(store, 0, "run-b"))
    rollback(store, 1, "r")
    forget(store, 1, "f")
    done = expire(store, older_than=timedelta(0))
    assert sorted(done.generations) == ["forgotten-round-1-run-1", "retired-round-2-run-2"]
    assert [item.faults for item in verify(store)] == [()]
    disk = LabelStore(str(tmp_path / "labels"))
    relocate(store, disk, move=True)
    assert disk.read_all(0).num_rows == 60


def test_of_many_creators_of_a_lock_one_succeeds(ceph: CephServer) -> None:
    storage = LabelStore(ceph.url("locks"), "sqlite:////unused.db").storage

    def create(number: int) -> bool:
        try:
            storage.create("lock", str(number).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(16))) == 1


def test_unfinished_uploads_expire(ceph: CephServer, tmp_path: Path) -> None:
    store = LabelStore(ceph.url("uploads"), f"sqlite:///{tmp_path}/uploads.db")
    publish_rounds(store, 1)
    store.storage.filesystem().call_s3("create_multipart_upload", Bucket=ceph.bucket, Key="uploads/data/big.parquet")
    assert len(expire(store, older_than=timedelta(0)).uploads) + len(store.storage.unfinished_uploads()) == 1
    assert [item.faults for item in verify(store)] == [()]
