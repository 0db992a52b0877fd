"""Label weights: the documented formula, off means one, and angles beyond their limits are not taught."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.labelling.batches import LabelBatch
from pipeline.rounds.shard_task import carried_rows
from schemas.labels import LABEL_SCHEMA, Decision, StartSource, is_poor_fit
from schemas.person import PersonId
from schemas.skel import DOFS, Q_NAMES, q_limits
from tests.trainer.data.made_generation import make_generation, of_skel, write_labels
from trainer.data import LabelWeightConfig, TrainDataConfig, open_epoch
from trainer.data.join import ShardLabels
from trainer.data.skel_labels import q_in_crop
from trainer.data.weights import betas_weights, joint_weights, within_limits

KEPT = [decision for decision in Decision if decision.startswith("kept_")]


def test_formula() -> None:
    q_std = np.zeros((3, 46), np.float32)
    q_std[1] = 0.5
    q_std[2, Q_NAMES.index("hip_flexion_r")] = 0.5 * np.sqrt(3)
    poor_fit = np.array([False, True, False])
    weight = joint_weights(LabelWeightConfig(), q_std, poor_fit)
    np.testing.assert_allclose(weight[0], 1)
    np.testing.assert_allclose(weight[1], 0.5 * 0.3, rtol=1e-6)
    np.testing.assert_allclose(weight[2], [0.5 if joint == 1 else 1 for joint in range(24)], rtol=1e-6)
    np.testing.assert_allclose(betas_weights(LabelWeightConfig(), poor_fit), [1, 0.3, 1])


def test_off() -> None:
    off = LabelWeightConfig(enabled=False)
    assert (joint_weights(off, np.full((2, 46), 3.0, np.float32), np.array([False, True])) == 1).all()
    assert (betas_weights(off, np.array([False, True])) == 1).all()


@pytest.mark.parametrize("decision", KEPT)
def test_a_kept_label_weighs_what_it_weighed(decision: Decision, tmp_path: Path) -> None:
    """A conversion that did not follow its SMPL mesh is no better for having been kept; a good one, and one that took
    the place of a poor one, weigh in full.
    """
    ids = [PersonId("made", "000000", f"photo{i}", 0) for i in range(5)]
    columns = {
        "decision": [Decision.CONVERTED_POOR_FIT, decision, decision, Decision.IMPROVED, decision],
        "start_source": [StartSource.SMPL, StartSource.SMPL, StartSource.SMPL, StartSource.PARENT, StartSource.PARENT],
        "pve_max_mm": [80.0, 80.0, 30.0, 80.0, 80.0],
    }
    batch = LabelBatch.of(ids, has_label=np.ones(5, bool), **columns)
    _, file = write_labels(tmp_path, "made", "000000", batch.to_table(1))
    labels = ShardLabels(file)
    poor_fit = np.array([labels[row].poor_fit for row in range(5)])
    np.testing.assert_allclose(betas_weights(LabelWeightConfig(), poor_fit), [0.3, 0.3, 1, 1, 1])


def test_what_a_kept_label_is_judged_by_is_carried_over() -> None:
    """Also in a shard that a round cannot read."""
    ids = [PersonId("made", "000000", "photo", 0)]
    poor = LabelBatch.of(
        ids,
        has_label=[True],
        decision=[Decision.CONVERTED_POOR_FIT],
        start_source=[StartSource.SMPL],
        pve_max_mm=[80.0],
    )
    (kept,) = carried_rows(poor.to_table(0), LABEL_SCHEMA.empty_table(), 1).to_pylist()
    assert kept["decision"] == Decision.KEPT_UNREADABLE
    assert is_poor_fit(
        np.array([kept["decision"]]), np.array([kept["start_source"]]), np.array([kept["pve_max_mm"]])
    ).all()


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
    for batch in of_skel(open_epoch(TrainDataConfig(global_batch=8, lanes=4), index, 0)):
        assert ((batch.joint_weight >= 0) & (batch.joint_weight <= 1)).all()
        within = within_limits(batch.q.numpy())
        assert (batch.joint_weight.numpy()[~within] == 0).all()
        assert (batch.joint_weight.numpy()[within] > 0).all()
    off = TrainDataConfig(global_batch=8, lanes=4, weights=LabelWeightConfig(enabled=False))
    for batch in open_epoch(off, index, 0):
        assert (batch.betas_weight == 1).all()
