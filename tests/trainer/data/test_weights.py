"""Label weights: the documented formula, off means one, and angles beyond their limits are not taught."""

import numpy as np
import pytest

from schemas.labels import Decision
from schemas.skel import DOFS, Q_NAMES, q_limits
from tests.trainer.data.made_generation import make_generation
from trainer.data import LabelWeightConfig, TrainDataConfig, open_epoch
from trainer.data.collate import q_in_crop
from trainer.data.weights import betas_weights, joint_weights, within_limits

GOOD, POOR = Decision.IMPROVED.value, Decision.CONVERTED_POOR_FIT.value


def test_formula() -> None:
    q_std = np.zeros((3, 46), np.float32)
    q_std[1] = 0.5
    q_std[2, Q_NAMES.index("hip_flexion_r")] = 0.5 * np.sqrt(3)
    decision = np.array([GOOD, POOR, GOOD])
    weight = joint_weights(LabelWeightConfig(), q_std, decision)
    np.testing.assert_allclose(weight[0], 1)
    np.testing.assert_allclose(weight[1], 0.5 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(weight[2], [0.5 if joint == 1 else 1 for joint in range(24)], rtol=1e-6)
    np.testing.assert_allclose(betas_weights(LabelWeightConfig(), decision), [1, 0.3, 1])


def test_off() -> None:
    off = LabelWeightConfig(enabled=False)
    assert (joint_weights(off, np.full((2, 46), 3.0, np.float32), np.array([GOOD, POOR])) == 1).all()
    assert (betas_weights(off, np.array([GOOD, POOR])) == 1).all()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="q_std_half"):
        LabelWeightConfig(q_std_half=0.0)
    with pytest.raises(ValueError, match="poor_fit"):
        LabelWeightConfig(poor_fit=1.5)


def test_mirrored_angles_beyond_their_limits_are_found() -> None:
    """The scapulae's limits are no mirror images, so no mirrored scapula is within them; hips and knees always are."""
    low, high = q_limits()
    middle = ((low + high) / 2)[None].astype(np.float32)
    assert within_limits(middle).all()
    mirrored = q_in_crop(middle, np.array([True]), np.zeros(1))
    outside = {joint for joint in range(24) if not within_limits(mirrored)[0, joint]}
    assert outside == {DOFS[Q_NAMES.index(f"scapula_elevation_{side}")].joint for side in "rl"}
    over = middle.copy()
    over[0, Q_NAMES.index("knee_angle_r")] = -0.2
    assert within_limits(over)[0].tolist() == [joint != 2 for joint in range(24)]


def test_weights_in_the_batch(tmp_path) -> None:
    index = make_generation(tmp_path, shards=1, photos=12)
    for batch in open_epoch(TrainDataConfig(global_batch=8, lanes=4), index, 0):
        assert ((batch.joint_weight >= 0) & (batch.joint_weight <= 1)).all()
        within = within_limits(batch.q.numpy())
        assert (batch.joint_weight.numpy()[~within] == 0).all()
        assert (batch.joint_weight.numpy()[within] > 0).all()
    off = TrainDataConfig(global_batch=8, lanes=4, weights=LabelWeightConfig(enabled=False))
    for batch in open_epoch(off, index, 0):
        assert (batch.betas_weight == 1).all()
