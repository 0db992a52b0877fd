"""Any checkpoint by its address: ours or a released one."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from trainer.checkpoint.addresses import opened
from trainer.checkpoint.foreign import read_released
from trainer.checkpoint.network_weights import Network
from trainer.checkpoint.own_format import CheckpointInfo, is_own, read_info, read_own
from trainer.network.variants import NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network in evaluation mode, float32 on the CPU; digest: sha256 of its file; info: None for released files."""

    network: Network
    digest: str
    info: CheckpointInfo | None


def load_checkpoint(address: str, *, config: NetworkConfig | None = None) -> Checkpoint:
    """The network in a file, local or s3://: ours, a released HSMR checkpoint (Lightning .ckpt) or one of HMR2.0.

    config: the architecture of a released file, by default the variant whose weights have the same names and shapes;
    our own files say theirs. Raises FileNotFoundError; CheckpointError when the file is damaged, refused or fits none.
    """
    with opened(address) as file:
        digest = _sha256(file)
        if is_own(file):
            network, info = read_own(file, address)
        else:
            network, info = read_released(file, address, config), None
    return Checkpoint(network=network.eval(), digest=digest, info=info)


def checkpoint_info(address: str) -> CheckpointInfo:
    """What one of our files says of itself. Raises FileNotFoundError, and CheckpointError for other files."""
    with opened(address) as file:
        return read_info(file, address)


def checkpoint_digest(address: str) -> str:
    """sha256 of the file, as the label lineage records it. Raises FileNotFoundError."""
    with opened(address) as file:
        return _sha256(file)


def _sha256(file: BinaryIO) -> str:
    sha = hashlib.sha256()
    while part := file.read(2**20):
        sha.update(part)
    file.seek(0)
    return sha.hexdigest()
