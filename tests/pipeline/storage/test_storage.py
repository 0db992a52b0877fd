"""One contract, two storages: a folder, and a prefix on a real S3 server."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.local_storage import LocalStorage
from pipeline.storage.opening import open_storage, storage_of_file
from pipeline.storage.s3_storage import S3Storage
from pipeline.storage.storage import TEMPORARY_SUFFIX, Storage
from tests.services.s3_server import S3Server


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return open_storage(str(tmp_path / "store"))
    server: S3Server = request.getfixturevalue("s3_server")
    return open_storage(server.url(f"storage/{tmp_path.name}"))


def parquet(numbers: list[int]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"number": numbers, "other": numbers}), sink)
    return sink.getvalue().to_pybytes()


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write("a/b c#1", b"old")
    storage.write("a/b c#1", b"new")
    assert storage.read("a/b c#1") == b"new"
    with storage.open("a/b c#1") as file:
        assert (file.seek(1), file.read()) == (1, b"ew")
    storage.write("empty", b"")
    assert storage.read("empty") == b""


def test_a_missing_file_is_not_found(storage: Storage) -> None:
    for read in (storage.read, storage.open, storage.parquet_file):
        with pytest.raises(FileNotFoundError):
            read("nowhere/file")
    assert storage.names("nowhere") == []
    assert list(storage.walk("nowhere")) == []
    storage.delete("nowhere/file")


def test_listings(storage: Storage) -> None:
    assert list(storage.walk()) == []
    for name in ("a/2", "a/1", "a/deep/3", "b/4"):
        storage.write(name, name.encode() * 2)
    assert storage.names("a") == ["1", "2"]
    assert {file.name: file.size for file in storage.walk()} == {"a/1": 6, "a/2": 6, "a/deep/3": 16, "b/4": 6}
    assert {file.name for file in storage.walk("a")} == {"a/1", "a/2", "a/deep/3"}
    now = datetime.now(UTC)
    assert all(abs(file.modified - now) < timedelta(minutes=5) for file in storage.walk())


def test_deleting_leaves_the_rest(storage: Storage) -> None:
    for name in ("a/1", "a/deep/2", "b/3"):
        storage.write(name, b"x")
    storage.delete("a/deep/2")
    storage.delete("b/3")
    storage.delete_empty_folders("a")
    storage.delete_empty_folders("b")
    assert [file.name for file in storage.walk()] == ["a/1"]
    with pytest.raises(FileNotFoundError):
        storage.read("b/3")


def test_of_many_creators_one_succeeds(storage: Storage) -> None:
    creators = 16
    start = threading.Barrier(creators)

    def create(number: int) -> int | None:
        start.wait()
        try:
            storage.create("locks/one", str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(creators) as pool:
        winners = [number for number in pool.map(create, range(creators)) if number is not None]
    assert len(winners) == 1
    assert storage.read("locks/one") == str(winners[0]).encode()
    assert [file.name for file in storage.walk()] == ["locks/one"]


def test_an_upload_replaces_the_file_and_keeps_its_source(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "finished"
    source.write_bytes(b"\0" * (6 * 2**20))
    storage.write("there/file", b"old")
    storage.upload(source, "there/file")
    assert storage.read("there/file") == source.read_bytes()
    assert [file.name for file in storage.walk()] == ["there/file"]
    assert storage.unfinished_uploads() == []


def test_names_and_urls(storage: Storage) -> None:
    for prefix in (storage.root, storage.uri):
        assert storage.name(f"{prefix}/a/b") == "a/b"
    assert storage.name(storage.url("a/b")) == "a/b"
    for elsewhere in (f"{storage.root}-other/a", storage.root, "s3://another/a"):
        with pytest.raises(ValueError, match="was the store moved"):
            storage.name(elsewhere)


def test_parquet_is_read_and_queried(storage: Storage) -> None:
    storage.write("one.parquet", parquet([1, 2]))
    storage.write("d=x/two.parquet", parquet([3]))
    table = storage.parquet_file("one.parquet").read(columns=["number"])
    assert table.to_pydict() == {"number": [1, 2]}
    connection = duckdb.connect()
    urls = [storage.url("one.parquet"), storage.url("d=x/two.parquet")]
    storage.create_views(connection, {"all_of_it": urls, "second": urls[1:]})
    assert connection.execute("SELECT sum(number) FROM all_of_it").fetchall() == [(6,)]
    assert connection.execute("SELECT * FROM second").fetchall() == [(3, 3)]  # no column of the folder's name


def test_the_clock_is_that_of_the_files(storage: Storage) -> None:
    before = storage.now()
    storage.write("a", b"")
    (file,) = storage.walk()
    assert timedelta(seconds=-2) <= file.modified - before <= timedelta(minutes=1)
    assert not any(file.name.endswith(TEMPORARY_SUFFIX) for file in storage.walk())


def test_a_storage_is_a_plain_value(storage: Storage) -> None:
    again = open_storage(storage.root)
    assert again == storage
    assert hash(again) == hash(storage)
    packed = pickle.dumps(storage)
    assert pickle.loads(packed) == storage
    assert len(packed) < 400
    assert open_storage(f"{storage.root}-other") != storage
    assert isinstance(storage, Storage)


def test_the_address_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("labels") == LocalStorage(f"{tmp_path}/labels")
    assert open_storage("~/labels") == LocalStorage(f"{Path.home()}/labels")
    assert open_storage(f"file://{tmp_path}/labels") == LocalStorage(f"{tmp_path}/labels")
    assert open_storage("s3://bucket/prefix/") == S3Storage("s3://bucket/prefix")
    assert storage_of_file("s3://bucket/a/b.npz") == (S3Storage("s3://bucket/a"), "b.npz")
    assert storage_of_file("b.npz") == (LocalStorage(str(tmp_path)), "b.npz")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (" ", "storage.root is empty"),
        ("gs://bucket/prefix", "not supported"),
        ("s3:///prefix", "not supported"),
        ("s3://key:secret@bucket/prefix", "holds credentials"),
    ],
)
def test_other_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_storage(address)


def test_a_database_lives_on_a_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert open_storage(str(tmp_path)).database_file("iceberg/catalog.db") == tmp_path / "iceberg/catalog.db"
    assert not caplog.messages
    paths = {open_storage(f"s3://bucket/{name}").database_file("iceberg/catalog.db") for name in ("a", "b")}
    assert len(paths) == 2
    assert all(path.is_relative_to(Path.home()) for path in paths)
    assert "good for one machine" in caplog.messages[0]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"old")
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for write in (storage.write, storage.create):
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a'"):
            write("a", b"new")
    monkeypatch.undo()
    assert [(file.name, file.size) for file in storage.walk()] == [("a", 3)]


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setattr("pipeline.storage.s3._CONFIG", {"retries": {"total_max_attempts": 1}, "connect_timeout": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="s3://bucket/prefix cannot be reached"):
        open_storage("s3://bucket/prefix").read("a")


def test_unfinished_uploads_are_found_and_freed(s3_server: S3Server) -> None:
    storage = open_storage(s3_server.url("unfinished"))
    s3 = storage.filesystem()
    for key in ("unfinished/a", "unfinished-other/b"):
        s3.call_s3("create_multipart_upload", Bucket=s3_server.bucket, Key=key)
    (upload,) = storage.unfinished_uploads()
    assert upload.key == "unfinished/a"
    storage.abort_upload(upload)
    storage.abort_upload(upload)
    assert storage.unfinished_uploads() == []
