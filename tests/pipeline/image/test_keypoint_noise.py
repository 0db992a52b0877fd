"""The stored noise, copies that count once, and where detectors mean keypoints to be."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.body import Skel
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.image.keypoint_error import usable_confidence
from pipeline.image.keypoint_noise import as_detectors_mean_them, counted_once, keypoint_noise, trunk_frame
from schemas.keypoints import FLIP_PERMUTATION, KEYPOINT_NAMES, TWINS


def test_the_stored_noise_is_plausible_and_symmetric() -> None:
    noise, flipped = keypoint_noise(), list(FLIP_PERMUTATION)
    assert ((noise.std > 0.002) & (noise.std < 0.03)).all()
    assert (noise.beside_offset <= noise.std).all()
    assert torch.equal(noise.std, noise.std[flipped])
    assert torch.equal(noise.offset, noise.offset[flipped] * torch.tensor([-1.0, 1.0, 1.0]))
    assert noise.offset.norm(dim=1).max() < 0.08
    for twin, original in TWINS.items():
        assert noise.std[twin] == noise.std[original]
    unseen = [name for name, measured in zip(KEYPOINT_NAMES, noise.measured, strict=True) if not measured]
    assert unseen == ["j19_neck", "j19_head_top", "j19_thorax", "j19_spine", "j19_jaw", "j19_head"]


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_a_copy_and_its_original_count_as_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(3, 44, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(counted_once(keypoints), usable_confidence(keypoints)), "two looks at a place count as two"
    copied = keypoints.clone()
    copied[:, list(TWINS)] = copied[:, list(TWINS.values())]
    alone = copied.clone()
    alone[:, list(TWINS), 2] = 0
    weight = counted_once(copied)
    together = weight[:, list(TWINS)] + weight[:, list(TWINS.values())]
    torch.testing.assert_close(together, usable_confidence(alone)[:, list(TWINS.values())])


def test_absent_points_are_nobodys_copies() -> None:
    keypoints = torch.zeros(1, 44, 3)
    keypoints[0, 11, 2] = 0.9  # at the origin, where the absent twin stands as well
    assert counted_once(keypoints)[0, 11] == keypoints[0, 11, 2]
    keypoints[0, 10] = keypoints[0, 26] = torch.tensor([torch.nan, 0.0, 1.0])
    assert torch.isfinite(counted_once(keypoints)).all()


def test_offsets_move_with_the_body(open_skel: Skel) -> None:
    """Turning the whole body turns them; the trunk's frame is a right-handed one, left, up and forward."""
    q = mean_q()[None].to(open_skel.dtype)
    points = open_skel.keypoints(q, torch.zeros(1, 10, dtype=q.dtype)).double()
    frame = trunk_frame(points)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3, dtype=torch.float64)[None])
    assert torch.det(frame) > 0
    assert (points[0, 12] - points[0, 9]) @ frame[0, :, 0] > 0
    assert (points[0, 0] - points[0, 1]) @ frame[0, :, 1] > 0, "the nose is above the neck"
    assert (points[0, 19] - points[0, 21]) @ frame[0, :, 2] > 0, "toes are in front of heels"
    turn = torch.as_tensor(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    turn = turn * torch.det(turn)
    torch.testing.assert_close(as_detectors_mean_them(points @ turn.mT), as_detectors_mean_them(points) @ turn.mT)
    moved = (as_detectors_mean_them(points) - points)[0].norm(dim=1)
    torch.testing.assert_close(moved, keypoint_noise().offset.norm(dim=1))
