"""Networks in files: our own safetensors files, the released HSMR and HMR2.0 checkpoints, ViTPose backbones.

`own_format` is what training writes; `foreign` reads the files of others, which are pickles, without running them;
`network_weights` builds a network from weights or says which do not fit; `training_state` holds what a resumed
training needs besides, `lightning_optimizer` what the files of others have of it.
"""

from trainer.checkpoint.backbone_file import load_backbone
from trainer.checkpoint.errors import CheckpointError
from trainer.checkpoint.lightning_optimizer import continue_adamw, read_adamw_state
from trainer.checkpoint.loading import Checkpoint, checkpoint_digest, checkpoint_info, load_checkpoint
from trainer.checkpoint.network_weights import Network
from trainer.checkpoint.own_format import CheckpointInfo, save_checkpoint
from trainer.checkpoint.training_state import load_state, save_state

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointInfo",
    "Network",
    "checkpoint_digest",
    "checkpoint_info",
    "continue_adamw",
    "load_backbone",
    "load_checkpoint",
    "load_state",
    "read_adamw_state",
    "save_checkpoint",
    "save_state",
]
