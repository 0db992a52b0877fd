"""Shards on a real S3 server: the same answers as on the local disk, and clear ones when S3 fails."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import get_loop

from pipeline.shards import RawSample, expand_shards, list_shards, read_shard, write_shard
from pipeline.storage.s3 import s3_filesystem
from schemas.person import Photo, Rejection, RejectionReason
from tests.pipeline.shards.samples import photo_bytes, read, sample
from tests.services.s3_server import S3Server
from tests.services.s3_service import aws_environment, started


@pytest.fixture(scope="module")
def prefix(s3_server: S3Server) -> str:
    """s3:// folder with three shards of two photos."""
    prefix = s3_server.url("input/demo_set")
    for i in range(3):
        write_shard(f"{prefix}/{i:06d}.tar", [sample(f"set/{i}-{j}", n_people=2, seed=i) for j in range(2)])
    return prefix


def test_braces_and_stars(prefix: str) -> None:
    expected = [f"{prefix}/{i:06d}.tar" for i in range(3)]
    assert expand_shards(f"{prefix}/{{000000..000002}}.tar") == expected
    assert expand_shards(f"{prefix}/*.tar") == expected


def test_listing_gives_identity_and_etag(prefix: str) -> None:
    shards = list_shards(f"{prefix}/*.tar")
    assert [(s.dataset, s.shard) for s in shards] == [("demo_set", f"{i:06d}") for i in range(3)]
    assert all(s.etag == s3_filesystem().info(s.url)["ETag"].strip('"') for s in shards)
    assert list_shards(f"{prefix}/{{000000..000002}}.tar") == shards


def test_reading_gives_what_the_local_disk_gives(prefix: str, tmp_path: Path) -> None:
    local = tmp_path / "demo_set" / "000001.tar"
    local.parent.mkdir()
    s3_filesystem().get_file(f"{prefix}/000001.tar", str(local))
    there, here = read(f"{prefix}/000001.tar")[0], read(local)[0]
    assert [(p.key, p.jpeg, [q.id for q in p.people]) for p in there] == [
        (p.key, p.jpeg, [q.id for q in p.people]) for p in here
    ]


def test_a_shard_above_the_block_size(s3_server: S3Server) -> None:
    url = s3_server.url("large/000000.tar")
    padding = b"\xff\xfe" + b"\xff\xff" + bytes(65533)  # a JPEG comment
    jpeg = photo_bytes()
    jpeg = jpeg[:2] + padding * 40 + jpeg[2:]
    write_shard(url, (RawSample(key=f"k{i}", jpeg=jpeg, people=[]) for i in range(8)))
    photos, rejections = read(url)
    assert list_shards(url)[0].size > 16 * 2**20
    assert [p.jpeg == jpeg for p in photos] == [True] * 8
    assert rejections == []


def test_a_shard_that_changes_after_listing(s3_server: S3Server) -> None:
    url = s3_server.url("changing/000000.tar")
    write_shard(url, [sample("a")])
    info = list_shards(url)[0]
    write_shard(url, [sample("b")])
    (rejection,) = read_shard(info)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == RejectionReason.SHARD_UNREADABLE
    assert "changed" in rejection.detail


def test_a_failed_write_leaves_nothing(s3_server: S3Server) -> None:
    def failing() -> Iterator[RawSample]:
        yield sample("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_shard(s3_server.url("failed/000000.tar"), failing())
    assert not s3_filesystem().exists(s3_server.url("failed/000000.tar"))


@pytest.mark.parametrize("url", ["s3://no-such-bucket/x.tar", "s3://no-such-bucket/*.tar", "BUCKET/none/000000.tar"])
def test_what_is_not_there(url: str, s3_server: S3Server) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.shards"):
        list_shards(url.replace("BUCKET", s3_server.url("").rstrip("/")))


def test_wrong_credentials_say_what_to_set(prefix: str, s3_server: S3Server) -> None:
    wrong = s3_server.env | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    with aws_environment(wrong), pytest.raises(OSError, match="AWS_SECRET_ACCESS_KEY"):
        list_shards(f"{prefix}/000000.tar")
    assert len(list_shards(f"{prefix}/000000.tar")) == 1


def test_a_server_that_dies_midway_is_reported_and_readable_after_its_return(tmp_path: Path) -> None:
    with started(S3Server(folder=tmp_path)) as server:
        url = server.url("d/000000.tar")
        blocks = photo_bytes()[:2] + (b"\xff\xfe\xff\xff" + bytes(65533)) * 100 + photo_bytes()[2:]
        write_shard(url, (RawSample(key=f"k{i}", jpeg=blocks, people=[]) for i in range(6)))
        info = list_shards(url)[0]
        reading = read_shard(info)
        assert isinstance(next(reading), Photo)
        server.kill()
        rest = list(reading)
        assert isinstance(rest[-1], Rejection)
        assert rest[-1].reason == RejectionReason.SHARD_UNREADABLE
        server.start()
        assert len(list(read_shard(info))) == 6


def test_a_broken_connection_leaves_no_traceback_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """aiohttp leaves a failed task behind; what failed otherwise is still reported."""
    s3_filesystem()

    async def abandon(error: Exception) -> None:
        async def fail() -> None:
            raise error

        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(0.01)
        gc.collect()

    for error in (ConnectionResetError("Cannot write to closing transport"), ValueError("something else")):
        asyncio.run_coroutine_threadsafe(abandon(error), get_loop()).result()
    reported = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert reported == [ValueError]


def test_s3fs_takes_the_endpoint_from_the_environment(s3_server: S3Server) -> None:
    assert fsspec.filesystem("s3").ls(s3_server.bucket)
