"""HMR2.0 by the same loop: it learns the shards' SMPL labels, resumes, has the prior, starts from its own files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body import load_smpl
from pipeline.runtime.config import ConfigError, load_config
from pipeline.storage.opening import open_storage
from tests.trainer.data.made_generation import make_generation
from tests.trainer.networks import INFO
from tests.trainer.training.jobs import ALONE, small_config, small_job
from tests.trainer.training.test_worker import kill
from trainer.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from trainer.data import LabelIndex, SmplBatch, open_epoch
from trainer.network.hmr2 import Hmr2, Hmr2Output
from trainer.network.networks import EveryLayer
from trainer.prior import MocapError, load_smpl_mocap
from trainer.training.driver import run_training
from trainer.training.initial_network import initial_network
from trainer.training.losses import LossConfig, loss_terms, pose_keypoints
from trainer.training.train_config import StartConfig, TrainConfig, config_digest
from trainer.training.trained_body import TrainedSmpl
from trainer.training.worker import TrainingWorker

STEPS = 8
SMPL = ("network.head=smpl", "schedule.validate_every=4", "run.save_every=3", f"schedule.max_steps={STEPS}")
LOSSES = LossConfig(orient=0.001)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> LabelIndex:
    return make_generation(tmp_path_factory.mktemp("made"), shards=2, held_out_share=0.2)


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("motions") / "a.npz"
    np.savez(path, body_pose=np.random.default_rng(0).normal(0, 0.2, (20, 72)), betas=np.zeros((20, 10)))
    return str(path)


def test_it_learns_with_the_prior_and_a_killed_run_goes_on(index: LabelIndex, motions: str, tmp_path: Path) -> None:
    config = small_config(*SMPL, "prior.weight=0.0005", f"prior.mocap=[{motions}]", "network.drop_path=0.1")
    outcome = TrainingWorker(small_job(tmp_path / "whole", index, config), ALONE).run()
    assert sum(outcome.losses[-3:]) < sum(outcome.losses[:3])
    assert [row["step"] for row in outcome.history] == [4, 8]
    for row in outcome.history:
        assert row["mpjpe_mm"] > row["pa_mpjpe_mm"] > 0
        assert row["kp2d_error_px"] > 0
    found = load_checkpoint(str(tmp_path / "whole" / outcome.best_checkpoint))
    assert isinstance(found.network, Hmr2)
    assert found.info is not None
    assert (found.info.q_std, found.info.population_std) == ((), ()), "of SKEL's q alone"

    job = small_job(tmp_path / "killed", index, config)
    kill(job, at=5)
    again = TrainingWorker(job, ALONE)
    assert again.step == 4
    resumed = again.run()
    assert resumed.losses == outcome.losses
    assert load_checkpoint(str(tmp_path / "killed" / outcome.best_checkpoint)).digest == found.digest, "bit for bit"


def test_a_trained_network_starts_another(index: LabelIndex, tmp_path: Path) -> None:
    """Ours or a released one, of the same head alone."""
    config = StartConfig(variant="tiny", head="smpl")
    network, storage = initial_network(config, None, seed=0), open_storage(str(tmp_path))
    save_checkpoint(storage, "hmr2.safetensors", network, replace(INFO, variant="tiny"))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "released.ckpt")
    for name in ("hmr2.safetensors", "released.ckpt"):
        found = initial_network(config, storage.url(name), seed=1)
        assert isinstance(found, Hmr2)
        assert all(torch.equal(value, network.state_dict()[key]) for key, value in found.state_dict().items())
        with pytest.raises(CheckpointError, match=r"network.head=smpl, but skel is asked for: set network.head=smpl"):
            initial_network(StartConfig(variant="tiny"), storage.url(name), seed=1)


def test_losses_are_of_smpl(index: LabelIndex) -> None:
    """At the label nothing is lost but keypoints; rotations and shape by their weights, people without a label not."""
    batch = next(open_epoch(small_config().data, index, 0, head="smpl"))
    assert isinstance(batch, SmplBatch)
    body, people = TrainedSmpl(load_smpl()), len(batch)
    cam = torch.tensor([0.9, 0.0, 0.0]).expand(people, 3)
    cam_t, unused = torch.tensor([0.0, 0.0, 40.0]).expand(people, 3), torch.zeros(people, 24, 6)
    at_label = Hmr2Output(batch.rotations, batch.betas, cam, cam_t, unused)
    terms = loss_terms(at_label, pose_keypoints(body, at_label), batch)
    assert (float(terms.orient), float(terms.body), float(terms.betas), float(terms.limits)) == (0, 0, 0, 0)
    turned = at_label._replace(rotations=batch.rotations.flip(-1), betas=batch.betas + 1)
    off = loss_terms(turned, pose_keypoints(body, turned), batch)
    labelled = batch.has_label.float()
    difference = (batch.rotations.flip(-1) - batch.rotations).square().sum((-2, -1)) * labelled[:, None]
    torch.testing.assert_close(off.orient, difference[:, 0].mean())
    torch.testing.assert_close(off.body, difference[:, 1:].sum(1).mean())
    torch.testing.assert_close(off.betas, 10 * batch.betas_weight.mean())
    expected = 0.001 * off.orient + 0.001 * off.body + 0.0005 * off.betas + 0.05 * off.keypoints_3d
    torch.testing.assert_close(off.total(LOSSES), expected + 0.01 * off.keypoints_2d)


def test_the_network_as_it_is_trained_predicts_what_it_does_alone() -> None:
    network = initial_network(StartConfig(variant="tiny", head="smpl"), None, seed=0).eval()
    patches = torch.randn(2, 3, 256, 256)
    (found,), spread = EveryLayer(network)(patches)
    assert spread is None
    assert all(torch.equal(a, b) for a, b in zip(found, network(patches), strict=True))
    everything, beside = network.apart()
    assert (len(everything), beside) == (len(list(network.parameters())), [])


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    for override, message in (
        ("network.camera=full", "HMR2.0 has no such options as network.camera=full"),
        ("network.uncertainty=head", "HMR2.0 has no such options"),
        ("loss.limits=0.1", "SMPL has no joint limits"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(TrainConfig, ["network.head=smpl", override])
    with pytest.raises(ConfigError, match=r"prior\.mocap=\[a\.npz"):
        run_training(0, small_config("prior.weight=0.0005", f"storage.root={tmp_path}"))
    assert config_digest(small_config("network.head=smpl")) != config_digest(small_config())


def test_motion_files_of_smpl(tmp_path: Path) -> None:
    poses = np.random.default_rng(1).normal(0, 0.2, (4, 72))
    poses[2, 5] = np.nan
    np.savez(tmp_path / "a.npz", body_pose=poses, betas=np.ones((4, 10)))
    found = load_smpl_mocap([str(tmp_path / "a.npz")])
    assert (len(found), found.dropped) == (3, 1)
    pose, betas = found.draw(5, seed=0, step=0)
    assert found.rotations(pose).shape == (5, 24, 3, 3)
    assert betas.shape == (5, 10)
    np.savez(tmp_path / "b.npz", body_pose=np.zeros((4, 69)), betas=np.ones((4, 10)))
    with pytest.raises(MocapError, match=r"body_pose of .*b\.npz has shape \(4, 69\), expected \(4, 72\)"):
        load_smpl_mocap([str(tmp_path / "b.npz")])
    np.savez(tmp_path / "c.npz", poses=np.zeros((4, 46)))
    with pytest.raises(MocapError, match=r"c\.npz is not a SMPL motion file.*body_pose \(N, 72\) and betas \(N, 10\)"):
        load_smpl_mocap([str(tmp_path / "c.npz")])
