"""Hostile label files that go by photo and box: checked labels or a refusal, nothing run.

400 in the default suite, 4,000 others by `make test-input`. A failure names its seed:
`python -m tests.input.matched_fuzz SEED` repeats it.
"""

from pathlib import Path

import pytest

from tests.input.guarded import run_seeds
from tests.input.matched_fuzz import MatchedFuzzer

DEFAULT_CASES, CASES = 400, 4_000


def test_hostile_files_by_photo_and_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the fuzzer changes it
    run_seeds(MatchedFuzzer(tmp_path), range(DEFAULT_CASES))


@pytest.mark.input
@pytest.mark.timeout(1800)
def test_many_more_hostile_files_by_photo_and_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_seeds(MatchedFuzzer(tmp_path), range(DEFAULT_CASES, DEFAULT_CASES + CASES))
