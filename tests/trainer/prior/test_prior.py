"""The adversarial prior: motion files, the two sides of the game, ranks, resuming."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.body.representation import q_to_rotations
from pipeline.storage.opening import open_storage
from tests.pipeline.body.poses import poses_within_limits, shapes
from trainer.checkpoint import load_state, save_state
from trainer.data import TrainDataConfig, rows_of_rank
from trainer.network.camera_head import camera_translation
from trainer.network.hsmr import HsmrOutput
from trainer.prior import AdversarialPrior, MocapError, MocapPoses, PriorConfig, load_mocap
from trainer.prior.discriminator import Discriminator

CPU = torch.device("cpu")
FAST = PriorConfig(weight=0.0005, learning_rate=3e-3)


def predictions(q: Tensor, betas: Tensor) -> HsmrOutput:
    cam = q.new_tensor([0.9, 0.0, 0.0]).expand(len(q), 3)
    return HsmrOutput(q, betas, cam, camera_translation(cam), q.new_zeros(len(q), 24, 6), q_to_rotations(q))


def implausible(count: int, seed: int) -> HsmrOutput:
    """Knees and elbows bent the wrong way, a body three standard deviations off."""
    q = poses_within_limits(count, seed, share=0.3).float()
    q[:, [6, 13, 32, 42]] = -1.0
    return predictions(q.requires_grad_(), (shapes(count, seed).float() + 3).requires_grad_())


@pytest.fixture(scope="module")
def mocap() -> MocapPoses:
    return MocapPoses(poses_within_limits(500, 1, share=0.3).float(), shapes(500, 1).float(), 0)


def write(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)  # pyrefly: ignore
    return str(path)


def test_motion_files(tmp_path: Path) -> None:
    q, betas = poses_within_limits(6, 3).numpy(), shapes(6, 3).numpy()
    q[2, 7] = np.nan
    error = np.array([0.01, 0.06, 0.01, np.nan, 0.02, 0.03])
    first = write(tmp_path / "a.npz", poses=q, betas=betas, pve_max=error)
    second = write(tmp_path / "b.npz", poses=q[:1], betas=betas[:1], pve_max=error[:1])
    found = load_mocap([first, second])
    assert (len(found), found.dropped) == (4, 3)
    torch.testing.assert_close(found.q, torch.from_numpy(q[[0, 4, 5, 0]]).float())
    torch.testing.assert_close(found.betas, torch.from_numpy(betas[[0, 4, 5, 0]]).float())


def test_files_that_are_no_skel_motion(tmp_path: Path, shared_dir: Path) -> None:
    smpl = str(shared_dir / "data" / "mocap" / "walk.npz")
    with pytest.raises(MocapError, match=r"walk\.npz is not a SKEL motion file.*pve_max"):
        load_mocap([smpl])
    wide = write(tmp_path / "wide.npz", poses=np.zeros((2, 72)), betas=np.zeros((2, 10)), pve_max=np.zeros(2))
    with pytest.raises(MocapError, match=r"poses of .*wide\.npz has shape \(2, 72\), expected \(2, 46\).*SmplToSkel"):
        load_mocap([wide])
    pickled = write(
        tmp_path / "pickled.npz", poses=np.array([{}], dtype=object), betas=np.zeros(1), pve_max=np.zeros(1)
    )
    with pytest.raises(MocapError, match=r"pickled\.npz"):
        load_mocap([pickled])
    (tmp_path / "cut.npz").write_bytes(Path(wide).read_bytes()[:100])
    with pytest.raises(MocapError, match=r"cut\.npz"):
        load_mocap([str(tmp_path / "cut.npz")])
    with pytest.raises(MocapError, match=r"no motion to learn from"):
        load_mocap([])


def test_discriminator_ignores_the_pelvis_and_its_gradients_are_right() -> None:
    torch.manual_seed(0)
    judge = Discriminator().double()
    q, betas = poses_within_limits(2, 5), shapes(2, 5)
    scores = judge(q_to_rotations(q), betas)
    assert scores.shape == (2, 25)
    turned = q.clone()
    turned[:, :3] += 1.0
    assert torch.equal(judge(q_to_rotations(turned), betas), scores)
    one_joint = q.clone()
    one_joint[:, 6] += 0.3  # right knee, joint 2
    changed = (judge(q_to_rotations(one_joint), betas) != scores).any(0).nonzero().flatten().tolist()
    assert set(changed) == {1, 23}
    assert torch.autograd.gradcheck(
        lambda q, betas: judge(q_to_rotations(q), betas), (q.requires_grad_(), betas.requires_grad_())
    )


def test_the_judge_learns_and_pushes_towards_real_poses(mocap: MocapPoses) -> None:
    prior = AdversarialPrior(FAST, mocap, seed=0, device=CPU, people=32)
    for step in range(80):
        prior.learn(implausible(32, step), step)
    real, fake = predictions(*mocap.draw(32, seed=9, step=0)), implausible(32, 1000)
    told = [1, 6, 15, 20, 23, 24]  # knees, elbows, the whole pose, the shape
    assert (prior.discriminator(real.rotations, real.betas)[:, told].mean(0) > 0.7).all()
    assert (prior.discriminator(fake.rotations, fake.betas)[:, told].mean(0) < 0.3).all()
    assert prior.implausibility(real) < prior.implausibility(fake)
    by_q, by_betas = torch.autograd.grad(prior.implausibility(fake), [fake.q, fake.betas])
    assert torch.isfinite(by_q).all()
    assert (by_q[:, [6, 13, 32, 42]].mean(0) < 0).all()  # downhill: knees and elbows bend forwards
    assert torch.isfinite(by_betas).all()


def test_the_networks_loss_leaves_the_judge_alone(mocap: MocapPoses) -> None:
    prior, fake = AdversarialPrior(FAST, mocap, seed=0, device=CPU, people=4), implausible(4, 1)
    prior.implausibility(fake).backward()
    assert all(p.grad is None for p in prior.discriminator.parameters())
    q_gradient = fake.q.grad
    prior.learn(fake, 0)
    assert fake.q.grad is q_gradient


def test_ranks_share_the_draw_of_the_global_batch(mocap: MocapPoses) -> None:
    q, betas = mocap.draw(8, seed=3, step=7)
    again, _ = mocap.draw(8, seed=3, step=7)
    other, _ = mocap.draw(8, seed=3, step=8)
    assert torch.equal(q, again)
    assert not torch.equal(q, other)
    assert len(betas) == 8


def test_a_resumed_game_goes_on_alike(mocap: MocapPoses, tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    whole = AdversarialPrior(FAST, mocap, seed=0, device=CPU, people=4)
    for step in range(3):
        whole.learn(implausible(4, step), step)
    save_state(storage, "prior.pt", whole.state_dict())
    resumed = AdversarialPrior(FAST, mocap, seed=1, device=CPU, people=4)
    resumed._seed = 0
    resumed.load_state_dict(load_state(storage, "prior.pt"))
    for step in range(3, 6):
        assert float(whole.learn(implausible(4, step), step)) == float(resumed.learn(implausible(4, step), step))
    for a, b in zip(whole.discriminator.parameters(), resumed.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)


def trained(rank: int, world: int) -> dict[str, Tensor]:
    """The judge after three steps of global batches of eight, of which this rank sees its share."""
    mocap = MocapPoses(poses_within_limits(500, 1, share=0.3).float(), shapes(500, 1).float(), 0)
    rows = rows_of_rank(TrainDataConfig(global_batch=8, lanes=8), rank, world)
    prior = AdversarialPrior(FAST, mocap, seed=0, device=CPU, people=8, rows=rows)
    for step in range(3):
        prior.learn(HsmrOutput(*(x[rows.start : rows.stop] for x in implausible(8, step))), step)
    return prior.discriminator.state_dict()


def train_as_rank(rank: int, folder: str, world: int) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    torch.save(trained(rank, world), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_equal_one(tmp_path: Path, world: int) -> None:
    """Three own 3, 3 and 2 of the eight people."""
    torch.multiprocessing.spawn(train_as_rank, (str(tmp_path), world), nprocs=world)  # pyrefly: ignore
    first, *others = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(world))
    for key, value in trained(0, 1).items():
        assert all(torch.equal(first[key], other[key]) for other in others)
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-4)
        # Adam takes a step of the same length where a gradient is next to nothing, and rounding decides which way.
        assert float((first[key] - value).abs().mean()) < 1e-7
