"""How often, and for what, a commit is tried again."""

from collections.abc import Callable

import pytest
from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from pipeline.labels.files.errors import PublishConflictError
from pipeline.labels.table.commit_retries import ATTEMPTS, until_committed

REFUSED = OperationalError("UPDATE", {}, Exception("database is locked"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for, in seconds; none is made."""
    found: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", found.append)
    return found


def failing(*failures: Exception) -> Callable[[], str]:
    """Fails with these, one a call, and then succeeds."""
    left = list(failures)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def test_it_goes_on_until_no_other_commit_comes_between(pauses: list[float]) -> None:
    failures = [CommitFailedException("faster"), REFUSED] * 5
    assert until_committed(failing(*failures), str) == "done"
    assert all(0.02 * n <= pause <= 0.1 * n for n, pause in enumerate(pauses, start=1))
    assert len(pauses) == 10


def test_it_ends_with_what_failed_last(pauses: list[float]) -> None:
    failures = [CommitFailedException("faster")] * (ATTEMPTS - 1) + [REFUSED]
    with pytest.raises(PublishConflictError, match=r"gave up: .*database is locked"):
        until_committed(failing(*failures), lambda last: f"gave up: {last}")
    assert len(pauses) == ATTEMPTS - 1


def test_other_errors_end_it_at_once(pauses: list[float]) -> None:
    with pytest.raises(OSError, match="disk"):
        until_committed(failing(OSError("the disk is full")), str)
    assert not pauses
