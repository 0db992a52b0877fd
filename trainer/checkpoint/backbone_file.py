"""A pretrained backbone by its address: the keypoint net's safetensors, or a ViTPose file."""

import safetensors.torch
from safetensors import SafetensorError

from trainer.checkpoint.addresses import opened
from trainer.checkpoint.errors import CheckpointError
from trainer.checkpoint.foreign import load_vitpose
from trainer.checkpoint.network_weights import fit_backbone
from trainer.checkpoint.own_format import is_own
from trainer.network.backbone import Backbone


def load_backbone(backbone: Backbone, address: str) -> None:
    """Take a backbone's weights from a file, local or s3://, in float32.

    Raises FileNotFoundError; CheckpointError when the file is damaged, refused, or of another backbone.
    """
    with opened(address) as file:
        if not is_own(file):
            load_vitpose(backbone, file, address)
            return
        data = file.read()
    try:
        weights = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{address} is damaged: {error}. Copy it again.") from error
    fit_backbone(backbone, {name: value.float() for name, value in weights.items()}, address)
