"""The network that a training run starts from: a checkpoint, a pretrained backbone, or fresh weights from the seed."""

import torch

from trainer.checkpoint import CheckpointError, load_checkpoint, load_vitpose
from trainer.network.hsmr import Hsmr
from trainer.network.variants import variant
from trainer.training.train_config import StartConfig


def initial_network(config: StartConfig, init_uri: str | None, seed: int) -> Hsmr:
    """On the CPU; the same on every rank. Raises CheckpointError when a file is damaged or of another network."""
    if init_uri is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Hsmr(variant(config.variant), recompute=config.activation_checkpointing)
        if config.backbone is not None:
            load_vitpose(network.backbone, config.backbone)
        return network
    loaded = load_checkpoint(init_uri, config=variant(config.variant)).network
    if not isinstance(loaded, Hsmr) or loaded.config != variant(config.variant):
        raise CheckpointError(
            f"{init_uri} is not of variant {config.variant!r}: set network.variant to its own, or network.init=none."
        )
    network = Hsmr(loaded.config, recompute=config.activation_checkpointing)
    network.load_state_dict(loaded.state_dict())
    return network
