"""How many workers a training may have: a number, or between two."""

import re
from typing import NamedTuple

_WRITTEN = re.compile(r"([0-9]{1,5})(?:\.\.([0-9]{1,5}))?")


class WorkerRange(NamedTuple):
    """At least `fewest`, at most `most` workers. 0 and 0: as many as there are GPUs."""

    fewest: int
    most: int

    @classmethod
    def read(cls, text: str) -> "WorkerRange":
        """Of `0`, `N` or `MIN..MAX`. Raises ValueError for anything else."""
        found = _WRITTEN.fullmatch(text)
        if found is not None:
            fewest = int(found[1])
            if found[2] is None:
                return cls(fewest, fewest)
            if 1 <= fewest <= int(found[2]):
                return cls(fewest, int(found[2]))
        raise ValueError(
            f"run.workers={text}: 0 (one per GPU), a positive number, or MIN..MAX with 1 <= MIN <= MAX, like 2..8, "
            "expected."
        )

    @property
    def elastic(self) -> bool:
        return self.fewest < self.most

    def __str__(self) -> str:
        return f"{self.fewest}..{self.most}" if self.elastic else str(self.most)
