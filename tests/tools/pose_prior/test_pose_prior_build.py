"""How the pose prior is built: kinematics of the CMU skeleton, the conversion, thinning, the mixture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.body import Skel, load_skel
from pipeline.fit.prior import PosePrior
from schemas.skel import JOINT_NAMES, N_BETAS, N_Q, Q_NAMES, q_limits
from tools.pose_prior.angles import TOLD, broad_belief, conversion_belief, mirrored
from tools.pose_prior.bone_directions import AngleBelief, DirectionFit, Directions
from tools.pose_prior.clips import HELD_OUT_CMU, HELD_OUT_MOCAP
from tools.pose_prior.cmu_skeleton import ANKLE, ELBOW, HIP, KNEE, SHOULDER, WRIST, CmuSkeleton, read_cmu
from tools.pose_prior.cmu_to_skel import cmu_to_q, hinge_axes
from tools.pose_prior.mixture import Mirror, MixtureConfig, fit_mixture
from tools.pose_prior.thinning import distinct

LIMBS = (("femur", "tibia", HIP, KNEE), ("tibia", "talus", KNEE, ANKLE), ("humerus", "ulna", SHOULDER, ELBOW),
         ("ulna", "hand", ELBOW, WRIST))  # fmt: skip
SWAP = Mirror(torch.tensor([1, 0, 2]), torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))


@pytest.fixture(scope="module")
def skel() -> Skel:
    return load_skel(dtype=torch.float64)


@pytest.fixture(scope="module")
def cmu(shared_dir: Path) -> tuple[CmuSkeleton, dict[str, Tensor]]:
    file = shared_dir / "data" / "mocap_cmu" / "cmu_30fps.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not there: this test reads its clips")
    return read_cmu(file)


def test_pose_of_two_joints_by_hand() -> None:
    """A chain along y whose first joint turns by -90 degrees about x in rows: by +90 in columns, y to z."""
    offset = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 1, 0]], dtype=torch.float64)
    skeleton = CmuSkeleton(np.array([-1, 0, 1]), offset, np.arange(3, 12).reshape(3, 3))
    frame = torch.zeros(1, 12, dtype=torch.float64)
    frame[0, 6] = -np.pi / 2
    joints = skeleton.pose(frame).joints
    torch.testing.assert_close(joints[0], torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=torch.float64))


def test_angles_are_found_again_from_directions(skel: Skel) -> None:
    """With three axes of every bone, every angle but those that no bone tells comes back."""
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    share = 0.2 + 0.6 * torch.rand(16, N_Q, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = low + share * (high - low)
    q[:, :3] = 0
    bone = torch.arange(1, 24).repeat_interleave(3)
    directions = Directions(bone, torch.eye(3, dtype=q.dtype).repeat(23, 1), torch.full((69,), 0.01, dtype=q.dtype))
    loose = AngleBelief((low + high) / 2, torch.full((N_Q,), 1e3, dtype=q.dtype))
    turned = skel.bone_motion(q, torch.zeros(16, N_BETAS, dtype=q.dtype))[2].rotations[:, bone]
    found = DirectionFit(skel, directions, loose).fit((turned @ directions.fixed[:, :, None]).squeeze(-1))
    torch.testing.assert_close(found, q, rtol=0, atol=1e-3)


def test_limbs_point_where_those_of_the_skeleton_do(skel: Skel, cmu: tuple[CmuSkeleton, dict[str, Tensor]]) -> None:
    skeleton, clips = cmu
    frames = torch.cat(list(clips.values()))
    hinges = hinge_axes(skeleton, frames)
    frames = frames[::100]
    q = cmu_to_q(skel, conversion_belief(), skeleton, frames, hinges)
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    assert ((q >= low) & (q <= high)).all()
    ours, theirs = skel.joints(q, torch.zeros(len(q), N_BETAS, dtype=q.dtype)), skeleton.pose(frames).joints
    for first, last, start, end in LIMBS:
        for side in "lr":
            a = ours[:, JOINT_NAMES.index(f"{last}_{side}")] - ours[:, JOINT_NAMES.index(f"{first}_{side}")]
            b = theirs[:, end[side]] - theirs[:, start[side]]
            off = torch.rad2deg(torch.acos(torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)))
            assert off.mean() < 2, (last, side)
            assert off.quantile(0.95) < 5, (last, side)  # at knee angle 0 the open body's joints bend by 8 degrees


def test_held_out_clips_are_there(shared_dir: Path, cmu: tuple[CmuSkeleton, dict[str, Tensor]]) -> None:
    assert set(HELD_OUT_CMU) <= set(cmu[1])
    assert len(HELD_OUT_CMU) == round(0.15 * len(cmu[1]))
    assert set(HELD_OUT_MOCAP) <= {file.stem for file in (shared_dir / "data" / "mocap").glob("*.npz")}


def test_shipped_prior_finds_held_out_motion_likelier_than_the_broad_gaussian(
    skel: Skel, cmu: tuple[CmuSkeleton, dict[str, Tensor]]
) -> None:
    skeleton, clips = cmu
    hinges = hinge_axes(skeleton, torch.cat(list(clips.values())))
    frames = torch.cat([clips[name][::10] for name in HELD_OUT_CMU])
    q, prior = cmu_to_q(skel, conversion_belief(), skeleton, frames, hinges), PosePrior.load()
    gain = prior.broad_energy(q) - prior.energy(q)
    assert gain.mean() > 15
    assert (gain > 1).double().mean() > 0.95


def test_hands_and_shoulder_blades_are_not_told() -> None:
    names = {Q_NAMES[index] for index in TOLD}
    assert len(names) == 27
    assert {"hip_flexion_r", "knee_angle_l", "lumbar_twist", "shoulder_l_z", "elbow_flexion_r"} <= names
    assert not [name for name in names if name.startswith(("wrist", "pro_sup", "scapula"))]


def test_mirror_keeps_legal_angles_legal_and_the_belief_as_it_is() -> None:
    belief = broad_belief()
    torch.testing.assert_close(mirrored(belief.mean[None])[0], belief.mean, rtol=0, atol=1e-12)
    low, high = (torch.as_tensor(limit) for limit in q_limits())
    assert ((belief.mean >= low) & (belief.mean <= high)).all()
    elevation = Q_NAMES.index("scapula_elevation_r")
    legal = belief.mean.clone()[None]
    legal[0, elevation] = -0.3
    assert mirrored(legal)[0, Q_NAMES.index("scapula_elevation_l")] == -0.3


def test_thinned_poses_are_apart_and_cover_the_rest() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = x[distinct(x, 0.8)]
    between = torch.cdist(kept, kept) + 10 * torch.eye(len(kept), dtype=x.dtype)
    assert between.min() > 0.8
    assert torch.cdist(x, kept).amin(1).max() <= 0.8
    assert torch.equal(distinct(x, 0.8), distinct(x, 0.8))


def clusters(count: int) -> Tensor:
    """Two tight groups, neither its own mirror image under SWAP."""
    generator = torch.Generator().manual_seed(2)
    centres = torch.tensor([[2.0, -1.0, 1.0], [0.5, 0.0, -2.0]], dtype=torch.float64)
    which = torch.randint(2, (count,), generator=generator)
    return centres[which] + 0.1 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def test_mixture_finds_groups_up_to_their_mirror_images() -> None:
    x = clusters(400)
    zero, std = torch.zeros(3, dtype=x.dtype), torch.full((3,), 2.0, dtype=x.dtype)
    mixture = fit_mixture(x, zero, std, SWAP, MixtureConfig(pairs=2, prior_count=1.0, noise=0.01, widening=1.0))
    every = torch.cat([mixture.mean, SWAP.of(mixture.mean)])
    for centre in ([2.0, -1.0, 1.0], [0.5, 0.0, -2.0]):
        assert (every - torch.tensor(centre, dtype=x.dtype)).norm(dim=1).min() < 0.05
    torch.testing.assert_close(mixture.log_density(SWAP.of(x)), mixture.log_density(x))
    assert mixture.weight.sum().item() == pytest.approx(0.9)


def test_mixture_is_a_density() -> None:
    x = clusters(400)
    zero, std = torch.zeros(3, dtype=x.dtype), torch.full((3,), 2.0, dtype=x.dtype)
    mixture = fit_mixture(x, zero, std, SWAP, MixtureConfig(pairs=2, noise=0.3, widening=1.0))
    proposal = torch.distributions.Normal(zero, 1.5 * std)
    torch.manual_seed(0)
    drawn = proposal.sample((200_000,))
    weight = (mixture.log_density(drawn) - proposal.log_prob(drawn).sum(1)).exp()
    assert weight.mean().item() == pytest.approx(1, abs=0.03)


def test_a_component_is_no_narrower_than_the_noise() -> None:
    same = torch.ones(50, 3, dtype=torch.float64)
    zero, std = torch.zeros(3, dtype=same.dtype), torch.ones(3, dtype=same.dtype)
    mixture = fit_mixture(same, zero, std, SWAP, MixtureConfig(pairs=1, noise=0.07, widening=1.5))
    assert torch.linalg.eigvalsh(mixture.cov).min() > 0.99 * (1.5 * 0.07) ** 2
