"""Hostile label files by the thousand: labels that are checked or a refusal, nothing run, nothing half-published.

500 in the default suite; 6,000 others, and more whole imports, by `make test-input`. A failure names its seed:
`python -m tests.input.label_fuzz SEED` repeats it.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.labels import LabelStore, LabelStoreError
from pipeline.labels.files.columns import VECTORS, vectors
from pipeline.rounds.import_round import import_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import load_config
from tests.input.guarded import run_seeds
from tests.input.label_files import PLACES, good_file, made_label_case
from tests.input.label_fuzz import LabelFuzzer, source_of
from tests.input.mutations import good_tar

DEFAULT_CASES, CASES = 500, 6_000
DEFAULT_IMPORTS, IMPORTS = 2, 30


def run(folder: Path, seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the fuzzer changes it
    run_seeds(LabelFuzzer(folder), seeds)


def test_hostile_label_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, range(DEFAULT_CASES), monkeypatch)


@pytest.mark.input
@pytest.mark.timeout(1800)
def test_many_more_hostile_label_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, range(DEFAULT_CASES, DEFAULT_CASES + CASES), monkeypatch)


def published_or_not(folder: Path, form: str, data: bytes) -> bool:
    """One whole import of the label file: a complete generation that passed its audit, or none at all."""
    shard, file = folder / "hostile" / "shard.tar", folder / "labels" / "hostile" / "shard.tar"
    for path, content in ((shard, good_tar()), (file, data)):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    root = folder / "store"
    words = [
        f"storage.root={root}",
        f"data.shards={shard}",
        "run.progress=false",
        "run.report=false",
        "run.actors=1",
        "fit.device=cpu",
    ]
    store = LabelStore(str(root))
    try:
        import_round(0, load_config(RoundConfig, [*words, "run.attempts=1"]), source_of(form, file), store)
    except (LabelStoreError, OSError, ValueError):
        assert store.rounds() == []
        return False
    table = store.read_all(0)
    assert len(table) == len(PLACES)
    assert all(np.isfinite(vectors(table[name])).all() for name in VECTORS)
    assert all(np.abs(vectors(table["betas"])).max(1) <= 3)
    return True


def imports(folder: Path, seeds: Iterable[int]) -> int:
    cases = [made_label_case(seed) for seed in seeds]
    return sum(published_or_not(folder / str(case.seed), case.form, case.data) for case in cases)


@pytest.mark.usefixtures("local_ray")
def test_whole_imports_of_hostile_label_files(tmp_path: Path) -> None:
    assert published_or_not(tmp_path / "good", "pseudo_gt", good_file("pseudo_gt"))
    imports(tmp_path, range(3, 3 + DEFAULT_IMPORTS))


@pytest.mark.input
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("local_ray")
def test_many_whole_imports_of_hostile_label_files(tmp_path: Path) -> None:
    published = imports(tmp_path, range(100, 100 + IMPORTS))
    print(f"\n{IMPORTS} whole imports: {published} published, {IMPORTS - published} refused")
    assert 0 < published < IMPORTS
