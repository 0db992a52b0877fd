"""Cases side by side: starting Python is most of a small round, and uses one core."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LANES = 2  # at a time

Case = TypeVar("Case")
Answer = TypeVar("Answer")


def in_lanes(run: Callable[[Case], Answer], cases: Iterable[Case]) -> list[Answer]:
    """What `run` returns for the cases, in any order. Every case runs; then AssertionError says all that went wrong."""
    answers: list[Answer] = []
    problems: list[str] = []

    def attempt(case: Case) -> None:
        try:
            answers.append(run(case))
        except Exception as error:
            problems.append(f"{case}: {type(error).__name__}: {error}")

    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(attempt, cases))
    assert not problems, "\n\n".join(problems)
    return answers
