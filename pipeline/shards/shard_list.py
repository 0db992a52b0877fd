"""The list of input shards: patterns to files with their size and version, on the local disk or on S3.

S3's endpoint and credentials come from the AWS environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, profiles) alone.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from braceexpand import braceexpand

from pipeline.storage.s3 import s3_filesystem
from schemas.input_shard import InputShard, ShardId

_MAX_SHARDS = 100_000
_S3_BLOCK_BYTES: Final = 8 * 2**20  # read-ahead: tens of photos a request
_MAX_NAME_CHARACTERS = 200
_ADVICE = "Correct the override data.shards, for example data.shards='DIR/{000000..000002}.tar'."


def expand_shards(pattern: str | Sequence[str]) -> list[str]:
    """Shard URLs of a pattern (or of several), in the pattern's order: braces as bash expands them, `*` sorted by name.

    Accepts local paths, file:// and s3://. Raises FileNotFoundError if a shard is missing or a `*` matches nothing,
    ValueError for a pattern that cannot be understood; both name the override data.shards.
    """
    return [url for url, _, _ in _find(pattern)]


def list_shards(pattern: str | Sequence[str], dataset: str | None = None) -> list[InputShard]:
    """The shards of `pattern` with size and version. dataset: default the name of each shard's parent folder.

    Raises as `expand_shards`, and ValueError when two shards have the same (dataset, shard): the identity of a label.
    """
    shards = [_shard_info(url, size, etag, dataset) for url, size, etag in _find(pattern)]
    seen: dict[ShardId, str] = {}
    for info in shards:
        other = seen.setdefault(info.id, info.url)
        if other is not info.url:
            raise ValueError(
                f"Two input shards are both dataset={info.dataset!r} shard={info.shard!r}: {other} and {info.url}. "
                "Labels would be mixed up: rename one, or run the folders apart with different data.dataset."
            )
    return shards


def open_shard(info: InputShard, *, read_ahead: bool = True) -> BinaryIO:
    """Open for reading, seekable; without read_ahead each read of an S3 object is a request of its own.

    Raises OSError if the content is no longer the version in `info.etag`.
    """
    if info.url.startswith("s3://"):
        cache = "readahead" if read_ahead else "none"
        file: Any = s3_filesystem().open(info.url, "rb", block_size=_S3_BLOCK_BYTES, cache_type=cache)
        etag = _s3_etag(file.details)
    else:
        file = open(info.url, "rb")  # noqa: SIM115 - the caller closes it
        etag = _local_etag(os.fstat(file.fileno()))
    if etag != info.etag:
        file.close()
        raise OSError(f"the shard changed since it was listed as {info.etag}, now {etag}: start the round again")
    return cast(BinaryIO, file)


def parse_url(url: str) -> str:
    """Canonical URL: an absolute local path, or s3://bucket/key. Raises ValueError for other protocols."""
    protocol, separator, path = url.partition("://")
    if not separator:
        return os.path.abspath(os.path.expanduser(url))
    if protocol == "file":
        return os.path.abspath(path)
    if protocol == "s3" and path.strip("/"):
        return f"s3://{path}"
    raise ValueError(f"Cannot read {url!r}: expected a local path, file://PATH or s3://BUCKET/KEY. {_ADVICE}")


def _shard_info(url: str, size: int, etag: str, dataset: str | None) -> InputShard:
    path = PurePosixPath(url)
    shard, dataset = path.name.removesuffix(".tar"), path.parent.name if dataset is None else dataset
    for what, name in (("shard", shard), ("dataset", dataset)):
        printable = name.isprintable() and not set("/\\") & set(name)
        if not printable or name in ("", ".", "..") or len(name) > _MAX_NAME_CHARACTERS:
            raise ValueError(
                f"{url}: {name!r} cannot name a {what}: expected 1 to {_MAX_NAME_CHARACTERS} printable characters "
                "without slashes. Rename the file, or set data.dataset."
            )
    return InputShard(url=url, dataset=dataset, shard=shard, size=size, etag=etag)


def _find(pattern: str | Sequence[str]) -> list[tuple[str, int, str]]:
    """(url, size, etag) of every shard of the pattern."""
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    urls = [parse_url(url) for one in patterns for url in _expand_braces(one)]
    if not urls:
        raise ValueError(f"The list of input shards is empty. {_ADVICE}")
    found = dict(_versions(url for url in urls if "*" not in url))
    shards, missing = [], []
    for url in urls:
        matches = sorted(_glob(url)) if "*" in url else [(url, *found[url])] if url in found else []
        shards += matches
        missing += [] if matches else [url]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise FileNotFoundError(f"{len(missing)} of {len(urls)} input shards not found: {names}. {_ADVICE}")
    return shards


def _expand_braces(pattern: str) -> list[str]:
    if not pattern.strip():
        return []
    try:
        urls = list(itertools.islice(braceexpand(pattern, escape=False), _MAX_SHARDS + 1))
    except ValueError as error:
        raise ValueError(f"Unbalanced braces in {pattern!r}. {_ADVICE}") from error
    if len(urls) > _MAX_SHARDS:
        raise ValueError(f"{pattern!r} names more than {_MAX_SHARDS} shards. {_ADVICE}")
    return urls


def _versions(urls: Iterable[str]) -> Iterator[tuple[str, tuple[int, str]]]:
    """(url, (size, etag)) of those that exist. An S3 folder is listed, 1,000 keys a request, not asked key by key."""
    folders: dict[str, set[str]] = {}
    for url in urls:
        if url.startswith("s3://"):
            folders.setdefault(url.rpartition("/")[0], set()).add(url)
        elif os.path.isfile(url):
            stat = os.stat(url)
            yield url, (stat.st_size, _local_etag(stat))
    for folder, wanted in folders.items():
        for url, size, etag in _s3_entries("ls", folder):
            if url in wanted:
                yield url, (size, etag)


def _glob(url: str) -> Iterator[tuple[str, int, str]]:
    if url.startswith("s3://"):
        yield from _s3_entries("glob", url)
        return
    root = Path(url).anchor
    for path in Path(root).glob(os.path.relpath(url, root)):
        if path.is_file():
            yield str(path), path.stat().st_size, _local_etag(path.stat())


def _s3_entries(verb: str, url: str) -> list[tuple[str, int, str]]:
    """Files given by `ls` or `glob`. Raises OSError saying how S3 is reached; a missing folder or bucket is empty."""
    try:
        entries: Any = getattr(s3_filesystem(), verb)(url, detail=True)
    except FileNotFoundError:
        return []
    except Exception as error:  # botocore's own errors (no credentials, no route) are not OSErrors
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "the default endpoint")
        raise OSError(
            f"Cannot list {url} at {endpoint}: {type(error).__name__}: {error}. Set AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or an AWS profile), or correct the override data.shards."
        ) from error
    entries = entries.values() if isinstance(entries, dict) else entries
    return [(f"s3://{e['name']}", int(e["size"]), _s3_etag(e)) for e in entries if e["type"] == "file"]


def _local_etag(stat: os.stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _s3_etag(details: dict[str, Any]) -> str:
    return str(details["ETag"]).strip('"')
