"""Hostile shards by the thousand: each sample ends as a checked photo or a recorded rejection; nothing else happens.

1,000 in the default suite; 20,000 others by `make test-input`. A failure names its seed:
`python -m tests.input.fuzz SEED` repeats it.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.input.fuzz import Fuzzer
from tests.input.guarded import run_seeds

DEFAULT_CASES = 1_000
CASES = 20_000


def run(folder: Path, seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the fuzzer changes it
    run_seeds(Fuzzer(folder, SHARED if (SHARED / "data").is_dir() else None), seeds)


def test_hostile_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, range(DEFAULT_CASES), monkeypatch)


@pytest.mark.input
@pytest.mark.timeout(1800)
def test_many_more_hostile_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, range(DEFAULT_CASES, DEFAULT_CASES + CASES), monkeypatch)
