"""An older S3 for the tests: the Ceph RADOS Gateway of Debian, one monitor and one store, on loopback ports.

It keeps no checksums, and its clients must run with AWS_REQUEST_CHECKSUM_CALCULATION=when_required.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.s3_service import S3Service, started

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
_START_SECONDS = 240.0
_CONFIGURATION = """[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind ipv6 = false
ms bind msgr1 = false
run dir = {folder}/run
crash dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
[mon.a]
mon data = {folder}/mon
mon cluster log file = {folder}/log/cluster.log
mon data avail crit = 1
mon data avail warn = 2
[osd.0]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 21474836480
osd memory target = 939524096
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{s3_port}
rgw enable usage log = false
"""


def missing_programs() -> list[str]:
    """What of Ceph is not installed: `apt-get install radosgw ceph-mon ceph-osd`."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(kw_only=True)
class CephServer(S3Service):
    """A new, empty Ceph in `folder`. The gateway asks for an encrypted link by default: hence `ms mon client mode`."""

    ports: list[int] = field(default_factory=lambda: free_ports(2))  # of the gateway and of the monitor

    @property
    def env(self) -> dict[str, str]:
        """The AWS environment that reaches this server, which keeps no checksums."""
        return super().env | {
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def start(self) -> None:
        for name in ("run", "log", "mon", "osd", "rgw"):
            (self.folder / name).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        s3_port, mon_port = self.ports
        text = _CONFIGURATION.format(fsid=fsid, mon_port=mon_port, s3_port=s3_port, folder=self.folder)
        (self.folder / "ceph.conf").write_text(text)
        monmap, osd = str(self.folder / "monmap"), str(uuid.uuid4())
        monitor = f"[v2:127.0.0.1:{mon_port}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, monmap, configured=False)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._run("ceph-mon", "-i", "a")
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        self._run("ceph-osd", "-i", "0")
        self._run("radosgw", "-n", "client.rgw")
        keys = [f"--access-key={self.access_key}", f"--secret-key={self.secret_key}"]
        user = ["user", "create", "--uid=test", "--display-name=test"]
        self._run("radosgw-admin", "-n", "client.rgw", "--pid-file=", *user, *keys)
        deadline = time.monotonic() + _START_SECONDS
        while (error := self.put_error()) is not None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"ceph did not start: {error}; see {self.folder / 'log'}")
            time.sleep(0.5)

    def kill(self) -> None:
        """End our processes, by the pid files of this folder."""
        for file in (self.folder / "run").glob("*.pid"):
            with contextlib.suppress(ValueError, ProcessLookupError, FileNotFoundError):
                pid = int(file.read_text())
                if str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def _run(self, program: str, *arguments: str, configured: bool = True) -> None:
        configuration = ["-c", str(self.folder / "ceph.conf")] if configured else []
        with open(self.folder / "log" / "out.log", "ab") as log:
            command = [program, *configuration, *arguments]
            subprocess.run(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=_START_SECONDS, check=True
            )


@contextlib.contextmanager
def running_ceph(folder: Path) -> Iterator[CephServer]:
    """A started gateway whose `env` is in os.environ meanwhile."""
    with started(CephServer(folder=folder)) as server:
        yield server
