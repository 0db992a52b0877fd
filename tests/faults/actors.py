"""The processes of a driver's actors, found so that they can be killed."""

import os
import signal
import time
from pathlib import Path

from ray._private.node import Node as ClusterNode
from ray.cluster_utils import Cluster


class Actors:
    """The actor processes of one driver: Ray's log files name a driver's job and the workers of a job."""

    def __init__(self, cluster: Cluster, driver: int) -> None:
        assert cluster.head_node is not None
        self._logs = Path(cluster.head_node.get_logs_dir_path())
        self._cluster = cluster
        self._driver = driver
        self._job: str | None = None

    def alive(self) -> list[int]:
        """Process ids, the youngest last."""
        if self._job is None:
            names = [path.name for path in self._logs.glob(f"python-core-driver-*_{self._driver}.log")]
            if not names:
                return []
            self._job = names[0].split("-")[3][:8]
        pids = sorted(int(path.stem.rpartition("-")[2]) for path in self._logs.glob(f"worker-*-{self._job}-*.out"))
        return [pid for pid in pids if _is_actor(pid)]

    def reading(self, path: str) -> list[int]:
        """Those that have the file open."""
        return [pid for pid in self.alive() if _reads(pid, path)]

    def node(self) -> ClusterNode | None:
        """The node that a living actor runs on, None while there is none: its raylet is the parent."""
        parents = {_parent(pid) for pid in self.alive()}
        nodes = self._cluster.list_all_nodes()
        return next((node for node in nodes if node.all_processes["raylet"][0].process.pid in parents), None)

    def kill(self) -> bool:
        """kill -9 one of them; False if none is alive."""
        return any(kill(pid) for pid in self.alive())

    def wait_until_gone(self, seconds: float = 60) -> None:
        """Ray ends the actors of a driver that has died. Raises TimeoutError if it does not."""
        deadline = time.monotonic() + seconds
        while alive := self.alive():
            if time.monotonic() > deadline:
                raise TimeoutError(f"actors {alive} outlive their driver")
            time.sleep(0.05)


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def kill(pid: int) -> bool:
    """kill -9; False if there is no such process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_actor(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("ray::ShardActor")
    except OSError:
        return False


def _reads(pid: int, path: str) -> bool:
    try:
        return any(os.readlink(link) == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # the process or the descriptor is gone by now
        return False
