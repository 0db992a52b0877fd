"""States written beside the training: each as it was when it was saved, one at a time, no error lost."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from pipeline.storage.local_storage import LocalStorage
from tests.trainer.training.jobs import CPU
from trainer.checkpoint import CheckpointError
from trainer.training.state import TrainingState
from trainer.training.state_writer import StateWriter

NAME = "run/state.pt"


class SlowStorage(LocalStorage):
    """Writes only while it is let; knows how many write at once."""

    let = threading.Semaphore(0)
    writing: ClassVar[list[str]] = []
    most_at_once = 0

    def write(self, name: str, data: bytes) -> None:
        SlowStorage.writing.append(name)
        SlowStorage.most_at_once = max(SlowStorage.most_at_once, len(SlowStorage.writing))
        assert SlowStorage.let.acquire(timeout=60)
        super().write(name, data)
        SlowStorage.writing.remove(name)


class FullDisk(LocalStorage):
    def write(self, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device", name)


def state(step: int, network: Mapping[str, torch.Tensor], **more: Any) -> TrainingState:
    parts: dict[str, Any] = {
        "epoch": 0, "batches": step, "optimizer": {}, "average": None, "average_updates": 0, "prior": None,
        "history": [], "losses": [], "worker_groups": [(0, 2), (1, 3)],
    }  # fmt: skip
    return TrainingState(step=step, network=network, **(parts | more))


def test_what_is_written_is_what_was_saved(tmp_path: Path) -> None:
    """Also after the next steps have changed weights, averages and the list of losses in place."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(network.parameters())

    def train() -> None:
        network(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()

    train()
    storage, losses = SlowStorage(str(tmp_path)), [1.0]
    with StateWriter(storage, NAME, CPU) as writer:
        for step in (1, 2):  # the second reuses the memory of the first copy
            told = {"optimizer": optimizer.state_dict(), "losses": losses, "average": dict(network.state_dict())}
            plain = state(step, network.state_dict(), **told)
            plain.save(LocalStorage(str(tmp_path)), "plain.pt")
            writer.save(plain)
            train()
            losses.append(2.0)
            SlowStorage.let.release()
            writer.wait()
            assert (tmp_path / NAME).read_bytes() == (tmp_path / "plain.pt").read_bytes()


def test_one_write_at_a_time_and_the_earlier_file_until_then(tmp_path: Path) -> None:
    storage, weight = SlowStorage(str(tmp_path)), {"weight": torch.zeros(3)}
    writer = StateWriter(storage, NAME, CPU)
    with writer:
        writer.save(state(1, weight))
        SlowStorage.let.release()
        writer.wait()
        writer.save(state(2, weight))  # comes back, though nothing can be written
        assert TrainingState.load(storage, NAME).step == 1  # pyrefly: ignore
        third = threading.Thread(target=writer.save, args=(state(3, weight),))
        third.start()
        third.join(0.2)
        assert third.is_alive(), "waits for the second"
        SlowStorage.let.release()
        third.join(60)
        assert TrainingState.load(storage, NAME).step == 2  # pyrefly: ignore
        SlowStorage.let.release()
    assert TrainingState.load(storage, NAME).step == 3, "the end waits for the last"  # pyrefly: ignore
    assert SlowStorage.most_at_once == 1


def test_an_error_comes_with_the_next_save_or_at_the_end(tmp_path: Path) -> None:
    weight = {"weight": torch.zeros(3)}
    writer = StateWriter(FullDisk(str(tmp_path)), NAME, CPU)
    writer.save(state(1, weight))
    with pytest.raises(OSError, match="No space left"):
        writer.save(state(2, weight))
    writer.save(state(3, weight))
    with pytest.raises(OSError, match="No space left"), writer:
        pass
    other = StateWriter(LocalStorage(str(tmp_path)), NAME, CPU)
    other.save(state(1, weight, scaler={"hostile": logging.getLogger()}))
    with pytest.raises(CheckpointError), other:
        pass


def test_an_error_of_the_training_is_not_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = StateWriter(FullDisk(str(tmp_path)), NAME, CPU)
    writer.save(state(1, {"weight": torch.zeros(3)}))
    with pytest.raises(ZeroDivisionError), writer:
        raise ZeroDivisionError
    assert "state.pt was not written" in caplog.text
