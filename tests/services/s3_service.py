"""What the S3 servers of the tests have in common: keys, addresses, the AWS environment, and how they come up."""

import contextlib
import os
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import fsspec


@dataclass(kw_only=True)
class S3Service(ABC):
    """A server that keeps its data in `folder` and answers S3 requests on the first of its loopback `ports`."""

    folder: Path
    ports: list[int]
    bucket: str = "skel-tests"
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL is set to."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def env(self) -> dict[str, str]:
        """The AWS environment that reaches this server, also for subprocesses."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @abstractmethod
    def start(self) -> None:
        """Start and wait until the bucket is there and an object can be written. Needs `env` in os.environ."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL, as in a crash."""

    def url(self, key: str) -> str:
        """s3:// URL of a key in the bucket."""
        return f"s3://{self.bucket}/{key}"

    def put_error(self) -> str | None:
        """None when the server takes writes, else what it says. Makes the bucket."""
        s3 = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        try:
            if not s3.exists(self.bucket):
                s3.mkdir(self.bucket)
            s3.pipe_file(f"{self.bucket}/ready", b"ok")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None


Service = TypeVar("Service", bound=S3Service)


@contextlib.contextmanager
def started(server: Service) -> Iterator[Service]:
    """The server, started; its `env` is in os.environ meanwhile."""
    with aws_environment(server.env):
        try:
            server.start()
            yield server
        finally:
            server.kill()  # the data is thrown away, and an orderly stop takes SeaweedFS 15 s


@contextlib.contextmanager
def aws_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Exactly these AWS_* variables in os.environ, and no file system that remembers others."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    _set_aws(env)
    try:
        yield
    finally:
        _set_aws(before)


def _set_aws(env: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(env)
    if "s3fs" in sys.modules:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
