"""What a resumed training needs besides the weights: optimiser, EMA, random states, position in the data."""

import io
from collections.abc import Mapping
from typing import Any

import torch

from pipeline.storage.storage import Storage
from trainer.checkpoint.foreign import read_pickle


def save_state(storage: Storage, name: str, state: Mapping[str, Any]) -> None:
    """Write `name` all at once. Tensors, numbers, text and builtin containers only: `load_state` reads nothing else.

    Raises CheckpointError, and writes nothing, when `state` holds anything else.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    read_pickle(buffer, storage.url(name))  # refused here rather than when the training is to be resumed
    storage.write(name, buffer.getvalue())


def load_state(storage: Storage, name: str) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU. Raises FileNotFoundError; CheckpointError for a damaged or hostile file."""
    return read_pickle(io.BytesIO(storage.read(name)), storage.url(name))
