"""The training losses against the original's numbers, and what the network's label weights do to them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.body import Skel
from pipeline.body.representation import q_to_rotations
from pipeline.image.camera import FOCAL
from schemas.person import PersonId
from tests.pipeline.body.poses import shapes, upright_poses
from tests.pipeline.body.standin import Golden
from trainer.data.batch import TrainBatch
from trainer.network.camera_head import camera_translation
from trainer.network.hsmr import HsmrOutput
from trainer.training.losses import LossConfig, LossTerms, PosedKeypoints, loss_terms, pose_keypoints
from trainer.training.trained_body import TrainedSkel

ORDER = ("keypoints_3d", "keypoints_2d", "limits", "orient", "body", "betas")  # of the golden weights
NAMES = ("kp3d", "kp2d", "prior", "poses_orient", "poses_body", "betas")
DTYPES = [torch.float64, torch.float32]


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return Golden(golden_dir / "losses.npz")


def output(q: Tensor, betas: Tensor, cam: Tensor) -> HsmrOutput:
    return HsmrOutput(
        q=q,
        betas=betas,
        cam=cam,
        cam_t=camera_translation(cam),
        representation=q.new_zeros(len(q), 24, 6),
        rotations=q_to_rotations(q),
    )


def batch_of(q: Tensor, betas: Tensor, keypoints_2d: Tensor, keypoints_3d: Tensor) -> TrainBatch:
    count = len(q)
    return TrainBatch(
        ids=tuple(PersonId("set", "shard", str(i), 0) for i in range(count)),
        patches=torch.zeros(count, 3, 256, 256, dtype=torch.uint8),
        color_scale=q.new_ones(count, 3),
        keypoints_2d=keypoints_2d,
        keypoints_3d=keypoints_3d,
        q=q,
        q_std=torch.zeros_like(q),
        female=torch.zeros(count, dtype=torch.bool),
        betas=betas,
        has_label=torch.ones(count, dtype=torch.bool),
        joint_weight=q.new_ones(count, 24),
        betas_weight=q.new_ones(count),
        focal=q.new_full((count,), FOCAL),
        ray=q.new_zeros(count, 2),
    )


def weights(golden: Golden, name: str) -> LossConfig:
    return LossConfig(**dict(zip(ORDER, golden(name).tolist(), strict=True)))


def golden_terms(golden: Golden, dtype: torch.dtype) -> tuple[LossTerms, dict[str, Tensor]]:
    """The terms, and the tensors that the golden gradients are of."""
    leaves = {n: golden(n, dtype).requires_grad_() for n in ("pd_kp3d", "pd_kp2d", "pd_q", "pd_betas")}
    count = len(leaves["pd_q"])
    predicted = output(leaves["pd_q"], leaves["pd_betas"], torch.ones(count, 3, dtype=dtype))
    has_poses = golden("has_poses", dtype)
    batch = replace(
        batch_of(golden("gt_q", dtype), golden("gt_betas", dtype), golden("gt_kp2d", dtype), golden("gt_kp3d", dtype)),
        joint_weight=has_poses[:, None].expand(-1, 24),
        betas_weight=golden("has_betas", dtype),
    )
    return loss_terms(predicted, PosedKeypoints(leaves["pd_kp3d"], leaves["pd_kp2d"]), batch), leaves


@pytest.mark.parametrize("dtype", DTYPES)
def test_terms_and_weighted_sums(golden: Golden, dtype: torch.dtype) -> None:
    terms, _ = golden_terms(golden, dtype)
    for ours, name in zip(ORDER, NAMES, strict=True):
        torch.testing.assert_close(getattr(terms, ours), golden(f"loss_{name}", dtype), rtol=1e-5, atol=0)
    for name in ("config", "alt"):
        total = terms.total(weights(golden, f"weights_{name}"))
        torch.testing.assert_close(total, golden(f"weighted_sum_{name}", dtype), rtol=1e-5, atol=0)


def test_default_weights_are_the_papers(golden: Golden) -> None:
    published = weights(golden, "weights_config")
    for name in ORDER:
        assert getattr(LossConfig(), name) == pytest.approx(getattr(published, name), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(golden: Golden, dtype: torch.dtype) -> None:
    terms, leaves = golden_terms(golden, dtype)
    terms.total(weights(golden, "weights_alt")).backward()
    for name, leaf in leaves.items():
        expected = golden(f"grad_{name}_alt", dtype)
        assert leaf.grad is not None
        scale = expected.abs().max()
        assert (leaf.grad - expected).abs().max() <= 1e-5 * scale, name
        if dtype == torch.float64:
            torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-7)


def test_terms_by_name_add_up(golden: Golden) -> None:
    terms, _ = golden_terms(golden, torch.float64)
    chosen = weights(golden, "weights_alt")
    torch.testing.assert_close(torch.stack(list(terms.weighted(chosen).values())).sum(), terms.total(chosen))


def people(count: int, seed: int) -> tuple[HsmrOutput, TrainBatch, Tensor]:
    """Predictions with gradients in q, betas and cam, and labels a little away from them."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    q, betas = upright_poses(count, seed), shapes(count, seed)
    cam = torch.tensor([0.9, 0.05, -0.05], dtype=torch.float64) + 0.05 * noise(count, 3)
    parameters = torch.cat([q, betas, cam], 1).requires_grad_()
    keypoints_2d = torch.cat([0.2 * noise(count, 44, 2), noise(count, 44, 1).abs()], -1)
    keypoints_3d = torch.cat([0.5 * noise(count, 44, 3), noise(count, 44, 1).abs()], -1)
    batch = batch_of(q + 0.1 * noise(count, 46), betas + noise(count, 10), keypoints_2d, keypoints_3d)
    return output(*parameters.split([46, 10, 3], 1)), batch, parameters


def test_float64_gradients_through_body_and_camera(open_skel: Skel) -> None:
    _, batch, parameters = people(2, seed=3)
    every = LossConfig(keypoints_3d=0.7, keypoints_2d=0.3, orient=0.05, body=0.02, betas=0.013, limits=0.11)

    def loss(values: Tensor) -> Tensor:
        predicted = output(*values.split([46, 10, 3], 1))
        return loss_terms(predicted, pose_keypoints(TrainedSkel(open_skel), predicted), batch).total(every)

    assert torch.autograd.gradcheck(loss, parameters.detach().requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_without_labels_no_parameter_is_compared(open_skel: Skel) -> None:
    """Whatever an absent label holds, it must not reach the loss; the keypoints still do."""
    predicted, batch, parameters = people(3, seed=5)
    batch = replace(batch, has_label=torch.tensor([False, True, False]))
    posed = pose_keypoints(TrainedSkel(open_skel), predicted)
    terms = loss_terms(predicted, posed, batch)
    other = replace(batch, q=batch.q.clone(), betas=batch.betas.clone())
    other.q[[0, 2]] += 1.0
    other.betas[[0, 2]] += 1.0
    again = loss_terms(predicted, posed, other)
    assert all(torch.equal(a, b) for a, b in zip(terms, again, strict=True))
    (gradient,) = torch.autograd.grad(terms.orient + terms.body + terms.betas, parameters)
    assert gradient[[0, 2]].count_nonzero() == 0
    assert gradient[1].count_nonzero() > 0


def test_the_shape_of_people_without_a_label_is_pulled_to_0(open_skel: Skel) -> None:
    """As if labelled 0, and only where somebody is to be seen; off by default."""
    predicted, batch, parameters = people(4, seed=6)
    points = batch.keypoints_2d.clone()
    points[3, :, 2] = 0
    batch = replace(batch, has_label=torch.tensor([False, True, False, False]), keypoints_2d=points)
    terms = loss_terms(predicted, pose_keypoints(TrainedSkel(open_skel), predicted), batch)
    expected = predicted.betas[[0, 2]].square().sum() / 4
    torch.testing.assert_close(terms.unlabelled_betas, expected)
    labelled = replace(batch, has_label=torch.tensor([True, False, True, False]), betas=torch.zeros_like(batch.betas))
    as_labelled = loss_terms(predicted, pose_keypoints(TrainedSkel(open_skel), predicted), labelled)
    torch.testing.assert_close(terms.unlabelled_betas, as_labelled.betas)
    (gradient,) = torch.autograd.grad(terms.unlabelled_betas, parameters)
    assert gradient[[1, 3]].count_nonzero() == 0
    assert LossConfig().unlabelled_betas == 0


def test_joint_weights_scale_their_joint_alone(open_skel: Skel) -> None:
    predicted, batch, _ = people(2, seed=7)
    posed = pose_keypoints(TrainedSkel(open_skel), predicted)
    full = loss_terms(predicted, posed, batch)
    weight = torch.zeros(2, 24, dtype=torch.float64)
    weight[:, 5] = 0.5
    part = loss_terms(predicted, posed, replace(batch, joint_weight=weight))
    error = (predicted.rotations - q_to_rotations(batch.q)).square().sum((-2, -1))
    torch.testing.assert_close(part.body, 0.5 * error[:, 5].mean())
    assert part.orient == 0
    torch.testing.assert_close(full.body, error[:, 1:].sum(1).mean())


def test_3d_points_are_compared_relative_to_keypoint_39(open_skel: Skel) -> None:
    """A body moved as a whole loses nothing; moved hips count for themselves, a moved pelvis for everybody."""
    predicted, batch, _ = people(2, seed=9)
    posed = pose_keypoints(TrainedSkel(open_skel), predicted)
    batch.keypoints_3d[..., 3] = 1.0

    def moved(*keypoints: int) -> float:
        points = batch.keypoints_3d[..., :3].clone()
        points[:, list(keypoints), 0] += 0.1
        return loss_terms(predicted, posed._replace(points=points), batch).keypoints_3d.item()

    assert moved(*range(44)) == pytest.approx(0, abs=1e-9)
    assert moved(8, 9, 12, 27, 28) == pytest.approx(0.5)
    assert moved(39) == pytest.approx(4.3)


def test_mean_over_ranks_is_the_loss_of_the_whole_batch(open_skel: Skel) -> None:
    """DDP averages over ranks with equal batches: each term must be a plain mean over people."""
    predicted, batch, _ = people(4, seed=9)
    posed = pose_keypoints(TrainedSkel(open_skel), predicted)

    def part(rows: slice) -> LossTerms:
        cut = replace(batch, **{item.name: getattr(batch, item.name)[rows] for item in fields(batch)})
        return loss_terms(HsmrOutput(*(x[rows] for x in predicted)), PosedKeypoints(*(x[rows] for x in posed)), cut)

    halves = [part(slice(0, 2)), part(slice(2, 4))]
    for whole, *parts in zip(loss_terms(predicted, posed, batch), *halves, strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_float32_agrees_with_float64(open_skel: Skel) -> None:
    predicted, batch, _ = people(8, seed=11)
    double = loss_terms(predicted, pose_keypoints(TrainedSkel(open_skel), predicted), batch)
    single_skel = open_skel.to("cpu", torch.float32)
    single = HsmrOutput(*(x.float() for x in predicted))
    cast = {n: getattr(batch, n).float() for n in ("keypoints_2d", "keypoints_3d", "q", "betas", "joint_weight")}
    rounded = loss_terms(single, pose_keypoints(TrainedSkel(single_skel), single), replace(batch, **cast))
    for a, b in zip(double, rounded, strict=True):
        torch.testing.assert_close(b.double(), a, rtol=1e-5, atol=1e-6)


def test_autocast_does_not_reach_body_and_losses(open_skel: Skel) -> None:
    predicted, batch, _ = people(2, seed=13)
    skel, single = open_skel.to("cpu", torch.float32), HsmrOutput(*(x.float() for x in predicted))
    plain = loss_terms(single, pose_keypoints(TrainedSkel(skel), single), batch)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss_terms(single, pose_keypoints(TrainedSkel(skel), single), batch)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))
