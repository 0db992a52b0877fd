"""The S3 file system of this process: who we are comes from the AWS chain, a busy or failing server is asked again."""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pyarrow.fs

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
