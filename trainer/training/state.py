"""The saved state of a training run: everything a restart needs to go on as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from jaxtyping import Shaped
from torch import Tensor

from pipeline.labels import Storage
from trainer.checkpoint import CheckpointError, load_state, save_state


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """After `step` steps, of which `batches` in epoch `epoch`.

    losses: of every step, the mean over the global batch; history: the rows of all validations; average: the averaged
    weights, prior: the discriminator of the adversarial prior, scaler: the scale of float16 gradients, if there
    are any. worker_groups: from which step on how many workers.
    """

    step: int
    epoch: int
    batches: int
    network: Mapping[str, Shaped[Tensor, "..."]]
    optimizer: Mapping[str, Any]
    average: Mapping[str, Shaped[Tensor, "..."]] | None
    average_updates: int
    prior: Mapping[str, Any] | None
    history: list[dict[str, float]]
    losses: list[float]
    scaler: Mapping[str, Any] | None = None
    worker_groups: list[tuple[int, int]] = field(default_factory=list)

    def save(self, storage: Storage, name: str) -> None:
        """Replace the saved state; a kill leaves the old one or the new one."""
        save_state(storage, name, {item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, storage: Storage, name: str) -> Self | None:
        """The saved state, on the CPU, or None if there is none yet. Raises CheckpointError for another file."""
        try:
            found = load_state(storage, name)
        except FileNotFoundError:
            return None
        try:
            return cls(**found)
        except TypeError as error:
            raise CheckpointError(
                f"{storage.url(name)} is not the state of a training run ({error}). Remove it to train from the start."
            ) from error
