"""`saving`: how long the steps of a training wait for a saved state, written there and then or beside them."""

import tempfile
import time
from collections.abc import Callable

import torch

from benchmarks.report import Options, say, table
from pipeline.storage.opening import open_storage
from trainer.network.hsmr import Hsmr
from trainer.network.variants import variant
from trainer.training.optimisation import make_optimizer
from trainer.training.state import TrainingState
from trainer.training.state_writer import StateWriter
from trainer.training.train_config import OptimizerConfig

_REPEATS = 3


def run(options: Options) -> None:
    """Print the seconds per save: what the steps wait, and until the file is there."""
    name = "tiny" if options.quick else "b"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = _state(name, device)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder)
        plain = [_seconds(lambda: state.save(storage, "plain.pt")) for _ in range(_REPEATS)]
        rows = [["there and then", *_described(plain), *_described(plain)]]
        waited: list[float] = []
        written: list[float] = []
        with StateWriter(storage, "beside.pt", device) as writer:
            for _ in range(_REPEATS + 1):
                start = time.perf_counter()
                waited.append(_seconds(lambda: writer.save(state)))
                writer.wait()
                written.append(time.perf_counter() - start)
        rows.append(["beside, the first", *_described(waited[:1]), *_described(written[:1])])
        rows.append(["beside, later", *_described(waited[1:]), *_described(written[1:])])
    table(["a state is written", "steps wait, s", "worst", "file is there, s", "worst"], rows)
    tensors = sum(value.nbytes for value in state.network.values())
    weights = f"{tensors / 1e6:.0f} MB of weights"
    say(f"Variant {name} on {device}: {weights}, three times that with AdamW's two averages; local disk.")


def _state(name: str, device: torch.device) -> TrainingState:
    """After one step, which makes AdamW's averages."""
    network = Hsmr(variant(name)).to(device)
    optimizer = make_optimizer(network, OptimizerConfig())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return TrainingState(
        step=1,
        epoch=0,
        batches=1,
        network=network.state_dict(),
        optimizer=optimizer.state_dict(),
        average=None,
        average_updates=0,
        prior=None,
        history=[],
        losses=[0.0],
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _described(seconds: list[float]) -> tuple[str, str]:
    """Median and worst."""
    return f"{sorted(seconds)[len(seconds) // 2]:.2f}", f"{max(seconds):.2f}"
