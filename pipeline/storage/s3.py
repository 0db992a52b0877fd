"""The S3 file system of this process: who we are comes from the AWS chain, a busy or failing server is asked again."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pyarrow.fs

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 8
_CONFIG: Final = {
    # botocore's standard mode: throttling (503 SlowDown, 429), 5xx, timeouts and reset connections are retried with
    # exponential backoff and jitter, at most 20 s apart; s3fs adds attempts of its own when a body breaks off midway.
    "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
    "connect_timeout": 10,
    "read_timeout": 60,
}


def s3_filesystem() -> Any:
    """The s3fs file system. Listings are not cached: a file put by another process must be seen.

    Endpoint and credentials come from the usual AWS chain (environment, ~/.aws, the machine's role) and nowhere else.
    """
    import fsspec  # s3fs takes half a second to import; local work never needs it
    from fsspec.asyn import get_loop

    get_loop().set_exception_handler(_on_loop_error)
    return fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=_CONFIG)


def s3_scanner() -> "pyarrow.fs.S3FileSystem":
    """Arrow's own S3 reader, which scans files in threads of C++; the same AWS chain, endpoint and region."""
    import pyarrow.fs

    known = s3_filesystem().s3.meta  # botocore has resolved what environment and ~/.aws say
    ours = not (urlsplit(known.endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return pyarrow.fs.S3FileSystem(
        region=known.region_name,
        endpoint_override=known.endpoint_url if ours else None,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


@contextlib.contextmanager
def explained(root: str) -> Iterator[None]:
    """Raises ConnectionError, naming the root, where botocore finds no credentials or no server."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise ConnectionError(
            f"{root} cannot be reached: {error}. Endpoint and credentials come from the usual AWS chain "
            "(AWS_ENDPOINT_URL, AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role)"
        ) from error


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own report (a traceback), but not of broken connections.

    aiohttp abandons the task that was writing to one; the request itself has failed, and botocore asks again or raises.
    """
    if isinstance(context.get("exception"), ConnectionError):
        logger.debug("%s: %r", context["message"], context["exception"])
    else:
        loop.default_exception_handler(context)
