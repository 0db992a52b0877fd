"""Where a round runs: a Ray of its own on this machine, or the cluster at an address."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
import torch

from pipeline.runtime.config import ConfigError, DataConfig, Device, StorageConfig

OBJECT_STORE_BYTES = 256 * 2**20  # labels go through the label store, not through Ray


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How many actors, and what each reserves."""

    actors: int
    gpus_per_actor: float


@contextmanager
def ray_session(address: str | None, actors: int, packages: Sequence[str]) -> Iterator[None]:
    """Ray for the duration of the block: the cluster at `address`, or one of our own with `actors` CPUs (0: all).

    packages: folders of our packages, for nodes of the cluster that share no installation with us.

    A Ray that the process has already started is used as it is, and left running.
    """
    if ray.is_initialized():
        yield
        return
    if address is None:
        ray.init(
            address="local",
            num_cpus=actors or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_our_code(packages))
    try:
        yield
    finally:
        ray.shutdown()


def resolve_device(asked: Device, key: str, address: str | None) -> Device:
    """`cpu` or `cuda`: what `auto` means here. Call it within the session when there is an address.

    key: the setting that asked. Raises ConfigError when that is cuda and there is no GPU.
    """
    there = torch.cuda.is_available() if address is None else ray.cluster_resources().get("GPU", 0) > 0
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked == "cuda" and not there:
        raise ConfigError(f"{key}=cuda, but no GPU is to be had. Set {key}=cpu or auto.")
    return asked


def place(actors: int, device: str) -> Placement:
    """One actor per CPU of the cluster, or per GPU with cuda, unless `actors` says how many."""
    resources = ray.cluster_resources()
    if device == "cpu":
        return Placement(actors=actors or max(1, int(resources.get("CPU", 1))), gpus_per_actor=0.0)
    gpus = max(1.0, resources.get("GPU", 1.0))
    count = actors or int(gpus)
    # Ray hands out shares of one GPU or whole ones.
    return Placement(actors=count, gpus_per_actor=min(1.0, gpus / count))


def shipped_packages(*objects: object) -> list[str]:
    """Folders of our packages: schemas, pipeline, and those that the classes of `objects` come from (None: none)."""
    names = [type(item).__module__.partition(".")[0] for item in objects if item is not None]
    return [str(Path(sys.modules[name].__path__[0])) for name in dict.fromkeys(["schemas", "pipeline", *names])]


def _our_code(packages: Sequence[str]) -> dict[str, list[str]]:
    """Ship our packages to nodes that share no installation with us, unless the job already brings its folder."""
    return {} if _job_working_dir() else {"py_modules": list(packages)}


def _job_working_dir() -> bool:
    """Whether this process runs in the copy that `ray job submit --working-dir` made of a folder."""
    return "runtime_resources" in Path.cwd().parts


def refuse_lost_paths(storage: StorageConfig, data: DataConfig) -> None:
    """Raises ConfigError for a relative path inside a copied working folder: labels written there would be lost."""
    if not _job_working_dir():
        return
    for key, path in (("storage.root", storage.root), ("data.shards", data.shards)):
        if path is not None and "://" not in path and not Path(path).is_absolute():
            raise ConfigError(
                f"{key}={path} is relative to the folder that --working-dir copied, which Ray deletes with the job. "
                f"Give an absolute path on a disk that every node sees, or s3://bucket/prefix."
            )
