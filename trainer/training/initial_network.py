"""The network that a training run starts from: a checkpoint, a pretrained backbone, or fresh weights from the seed."""

from dataclasses import replace

import torch

from trainer.checkpoint import Checkpoint, CheckpointError, load_backbone, load_checkpoint
from trainer.network.networks import NETWORKS, Network
from trainer.network.variants import variant
from trainer.training.train_config import StartConfig


def initial_network(config: StartConfig, init_uri: str | None, seed: int) -> Network:
    """On the CPU; the same on every rank. Raises CheckpointError when a file is damaged or of another network.

    A released file has no layers for the network's options: they start at zero, and the network as the file's. So does
    one of ours that was trained without the spread head; a head that is not asked for stays behind.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[config.head](config.network(), recompute=config.activation_checkpointing)
    if init_uri is not None:
        found = load_checkpoint(init_uri, config=variant(config.variant))
        _check(found, config, init_uri)
        own = network.state_dict()
        network.load_state_dict(own | {name: x for name, x in found.network.state_dict().items() if name in own})
    elif config.backbone is not None:
        load_backbone(network.backbone, config.backbone)
    if config.freeze_backbone:
        network.backbone.freeze()
    return network


def _check(found: Checkpoint, config: StartConfig, uri: str) -> None:
    wanted, there = config.network(), found.network.config
    if not isinstance(found.network, NETWORKS[config.head]):
        head = next(head for head, cls in NETWORKS.items() if isinstance(found.network, cls))
        raise CheckpointError(
            f"{uri} is a network of network.head={head}, but {config.head} is asked for: set network.head={head}, or "
            "network.init=none."
        )
    if (there.backbone, there.decoder) != (wanted.backbone, wanted.decoder):
        raise CheckpointError(
            f"{uri} is not of variant {config.variant!r}: set network.variant to its own, or network.init=none."
        )
    if found.info is not None and replace(there, uncertainty=wanted.uncertainty) != wanted:
        raise CheckpointError(
            f"{uri} is a network of {there.options}, but {wanted.options} is asked for: set its options, or "
            "network.init=none."
        )
