"""`ray job submit` to a running cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.labels import LabelStore
from tests.pipeline.rounds.made_shards import make_samples, write_shards
from tests.services.ray_nodes import operator_environment, ray_head, submit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return operator_environment(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def jobs(environment: dict[str, str]) -> Iterator[str]:
    """Address of the job server."""
    with ray_head(environment, cpus=2) as (jobs, _):
        yield jobs


def test_rounds_run_as_jobs_with_and_without_a_shipped_working_dir(
    jobs: str, environment: dict[str, str], tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "made", make_samples(6), 2)
    root = f"storage.root={tmp_path / 'labels'}"
    job = ["--", "python", "jobs/refine_round.py", "--round"]
    first = submit(jobs, environment, *job, "0", f"data.shards={shards}", root, "fit.device=cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Round 0 is published" in first.stdout
    second = submit(jobs, environment, "--working-dir=.", *job, "1", root, "fit.device=cpu")
    assert second.returncode == 0, second.stdout + second.stderr
    store = LabelStore(str(tmp_path / "labels"))
    assert [(generation.round, generation.rows) for generation in store.rounds()] == [(0, 6), (1, 6)]
    assert store.lineage(1).ray_job_id


def test_a_job_in_a_copied_folder_refuses_relative_paths(
    jobs: str, environment: dict[str, str], tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "made", make_samples(2), 1)
    job = ["--working-dir=.", "--", "python", "jobs/refine_round.py", "--round", "0", f"data.shards={shards}"]
    refused = submit(jobs, environment, *job)
    assert refused.returncode != 0
    assert "storage.root=./labels is relative to the folder that --working-dir copied" in refused.stdout
