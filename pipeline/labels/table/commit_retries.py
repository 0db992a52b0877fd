"""Trying a commit again when another process came between, a little later every time."""

import random
from collections.abc import Callable
from typing import Final, TypeVar

from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_after_attempt

from pipeline.labels.files.errors import PublishConflictError

ATTEMPTS: Final = 12
T = TypeVar("T")


def until_committed(attempt: Callable[[], T], gave_up: Callable[[BaseException | None], str]) -> T:
    """Call `attempt` until no other commit comes between, and the catalog's database does not refuse.

    Raises PublishConflictError, with what `gave_up` says of the last failure, when that does not end.
    """
    retrying = Retrying(
        retry=retry_if_exception_type((CommitFailedException, OperationalError)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_growing_pause,
    )
    try:
        return retrying(attempt)
    except RetryError as error:
        last = error.last_attempt.exception()
        raise PublishConflictError(gave_up(last)) from last


def _growing_pause(state: RetryCallState) -> float:
    """Seconds; at random, so that those who collided do not meet again."""
    return random.uniform(0.02, 0.1) * state.attempt_number
