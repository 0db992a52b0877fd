"""What a network finds of its crops, layer by layer."""

from typing import Generic, NamedTuple, TypeVar

from trainer.network.spread_head import QStd

Output = TypeVar("Output")


class Estimates(NamedTuple, Generic[Output]):
    """The estimate after each decoder layer that makes one, the prediction last; spread: how far its q may be off,
    None in a network without uncertainty=head.
    """

    layers: tuple[Output, ...]
    spread: QStd | None
