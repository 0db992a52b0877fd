"""What people without a label are tried in: legal, upright, unlike each other."""

import torch

from pipeline.fit.prior import PosePrior
from pipeline.fit.starts.mean_pose import folded_q, mean_q
from pipeline.fit.starts.start_poses import start_poses
from schemas.skel import N_UNLIMITED, q_limits


def test_the_mean_pose_upright_and_folded_come_first() -> None:
    both = torch.stack([mean_q(), folded_q()])
    assert torch.equal(start_poses("mean_pose"), both)
    assert torch.equal(start_poses("spread")[:2], both)


def test_all_are_legal_and_upright() -> None:
    poses = start_poses("spread")
    low, high = (torch.as_tensor(limit)[N_UNLIMITED:] for limit in q_limits())
    assert ((poses[:, N_UNLIMITED:] >= low) & (poses[:, N_UNLIMITED:] <= high)).all()
    assert torch.equal(poses[:, :N_UNLIMITED], mean_q()[:N_UNLIMITED].expand(len(poses), -1))


def test_each_is_the_mode_furthest_from_those_before_it() -> None:
    modes, poses = PosePrior.load().modes()[:, N_UNLIMITED:], start_poses("spread")[:, N_UNLIMITED:]
    for count in range(2, len(poses)):
        nearest = torch.cdist(modes, poses[:count]).amin(1)
        own = torch.cdist(poses[count : count + 1], poses[:count]).amin()
        torch.testing.assert_close(own, nearest.max())
