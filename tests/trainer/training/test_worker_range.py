"""`run.workers`: a number or a range, no more than lanes, and nothing that a training is called by."""

import pytest

from pipeline.runtime.config import ConfigError
from tests.trainer.training.jobs import small_config
from trainer.training.train_config import config_digest
from trainer.training.worker_range import WorkerRange


@pytest.mark.parametrize(
    ("text", "expected"), [("0", (0, 0)), ("3", (3, 3)), ("2..8", (2, 8)), ("1..1", (1, 1)), ("08", (8, 8))]
)
def test_numbers_and_ranges(text: str, expected: tuple[int, int]) -> None:
    found = WorkerRange.read(text)
    assert found == expected
    assert found.elastic == (expected[0] < expected[1])
    assert WorkerRange.read(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "-1", "two", "2..", "..8", "8..2", "0..4", "2...8", "2..8..9", "2,8", " 2", "2 ", "1e1", "²", "9" * 99],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.workers=.*0 \(one per GPU\), a positive number, or MIN\.\.MAX"):
        small_config(f"run.workers={text}")


def test_more_workers_than_lanes_are_refused() -> None:
    assert small_config("run.workers=2..4").run.worker_range() == (2, 4)
    with pytest.raises(ConfigError, match=r"run\.workers=2\.\.5 with data\.lanes=4: a worker reads one lane or more"):
        small_config("run.workers=2..5")


def test_workers_do_not_change_what_a_training_is() -> None:
    assert len({config_digest(small_config(f"run.workers={text}")) for text in ("0", "2", "1..4")}) == 1
