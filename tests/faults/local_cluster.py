"""A Ray cluster of one or more nodes on this machine, started from Python: drivers connect to it, nodes can be lost.

What an operator does, `ray start` and `ray job submit`, is in tests/services/ray_nodes.py.
"""

import contextlib
import os
from collections.abc import Iterator

from ray.cluster_utils import Cluster

STORE_BYTES = 128 * 2**20


@contextlib.contextmanager
def local_cluster(*cpus: int) -> Iterator[Cluster]:
    """One node per number of CPUs, all on this machine; the first is the head. Ended with the block."""
    # 15 by default: whatever else this machine does would starve the actors. Ray reads the name as it is written here.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    cluster = _head(cpus[0])
    try:
        for count in cpus[1:]:
            cluster.add_node(num_cpus=count, object_store_memory=STORE_BYTES)
        yield cluster
    finally:
        cluster.shutdown()


def _head(cpus: int) -> Cluster:
    """Ray gives a node 30 s to come up, which a crowded machine may exceed: three attempts."""
    options = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    for _ in range(2):
        with contextlib.suppress(Exception):  # Ray raises no other
            return Cluster(initialize_head=True, head_node_args=options)
    return Cluster(initialize_head=True, head_node_args=options)
