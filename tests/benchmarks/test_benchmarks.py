"""The benchmarks run, on a few people; what they measure is for `make bench`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.__main__ import main
from benchmarks.baselines import published_objective
from benchmarks.baselines.lbfgs_skelify import full_mesh, refine
from benchmarks.made import people
from benchmarks.made.truth_people import truth_people
from pipeline.body import Skel, load_skel, load_smpl
from tests.pipeline.body.standin import Golden
from tests.repository import ROOT


@pytest.fixture(scope="module")
def skel() -> Skel:
    return load_skel(dtype=torch.float64)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_cheap_ones_print_their_tables() -> None:
    done = bench(
        "--quick", "store", "keypoints", "network", "data", "gpu", "track", "prior", "camera", "memorising", "browse"
    )
    assert done.returncode == 0, done.stderr
    for expected in (
        "threads",
        "publish protocol",
        "one person through both rounds",
        "full mesh, autograd",
        "KB/person",
        "GFLOP/s",
        "tiny step",
        "share of peak",
        "GPU",
        "dense Cholesky",
        "open_epoch",
        "join (",
        "mostly broad",
        "orientation deg",
        "own fold",
        "picture, 512 px",
    ):
        assert expected in done.stdout, done.stdout


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("nosuch", 2)])
def test_the_command_explains_itself(
    argument: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", argument])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == status
    printed = "".join(capsys.readouterr())
    for name in (
        "skelify",
        "objective",
        "truth",
        "convert",
        "keypoints",
        "store",
        "network",
        "camera",
        "memorising",
        "data",
        "gpu",
        "track",
        "prior",
        "browse",
    ):
        assert name in printed


def test_the_restated_objective_is_the_published_one(standin_skel: Skel, golden_dir: Path) -> None:
    golden = Golden(golden_dir / "skelify.npz")

    def of(who: str) -> tuple[Tensor, Tensor]:
        q, betas, cam_t = (golden(f"{who}_{part}") for part in ("q", "betas", "cam_t"))
        points = standin_skel.keypoints(q, betas)
        return published_objective.objective_terms(points, q, betas, cam_t, golden("kp2d")), golden(f"{who}_objective")

    for who in ("init", "upstream", "true"):
        terms, total = of(who)
        torch.testing.assert_close(terms.sum(1), total, rtol=1e-5, atol=1e-6)
        order = [list(golden.arrays["term_names"]).index(n) for n in ("reprojection", "shape_prior", "angle_prior")]
        torch.testing.assert_close(terms, golden(f"{who}_objective_terms")[:, order], rtol=1e-5, atol=1e-6)


def test_the_restated_refiner_ends_where_the_original_did(standin_skel: Skel, golden_dir: Path) -> None:
    """One person alone: the same objective to 1e-4 after about as many evaluations (float noise differs)."""
    golden, one = Golden(golden_dir / "skelify.npz"), slice(0, 1)
    skel = standin_skel.to("cpu", torch.float32)
    start = people.Bodies(*(golden(f"init_{part}", torch.float32)[one] for part in ("q", "betas", "cam_t")))
    keypoints = golden("kp2d", torch.float32)[one]
    found = refine(skel.keypoints, keypoints, start)
    q, betas, cam_t = found.bodies.q, found.bodies.betas, found.bodies.cam_t
    reached = published_objective.objective_terms(skel.keypoints(q, betas), q, betas, cam_t, keypoints).sum()
    assert abs(float(reached) - float(golden("upstream_objective")[0])) < 1e-4
    assert 0.7 < found.evaluations / float(golden("upstream_evals")[0]) < 1.4


def test_collapsed_and_full_mesh_keypoints_agree(skel: Skel) -> None:
    sighted = people.perturbed_people(skel, 3, seed=1)
    q, betas = sighted.start.q, sighted.start.betas
    torch.testing.assert_close(full_mesh(skel)(q, betas), skel.keypoints(q, betas), rtol=0, atol=1e-9)


def test_people_of_the_truth_benchmark_are_as_stated(skel: Skel) -> None:
    made = truth_people(skel, load_smpl(), 40, seed=1)
    again = truth_people(skel, load_smpl(), 40, seed=1)
    assert torch.equal(made.sighted.keypoints, again.sighted.keypoints)
    assert int(made.extreme.sum()) == 20
    sighted = made.sighted
    assert torch.equal(people.inside_limits(sighted.truth.q), sighted.truth.q)
    assert np.isfinite(sighted.start.cam_t.numpy()).all()
    error = people.errors(skel, sighted.start, sighted.truth)
    assert 50 < error["mpjpe"] < 200
    assert people.errors(skel, sighted.truth, sighted.truth)["mpjpe"] == 0
