"""Rounds over people in memory: conversion, refinement, and that a second look without news changes nothing."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body import Skel, Smpl
from pipeline.body.representation import orientation_to_matrix
from pipeline.body.rotations import matrix_to_axis_angle
from pipeline.fit import Skelify, SmplToSkel
from pipeline.image.camera import FOCAL, project, solve_camera
from pipeline.image.keypoint_error import kp2d_error
from pipeline.labelling import candidate
from pipeline.labelling.acceptance import AcceptConfig, limit_violation
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import convert_people
from pipeline.labelling.label_spread import spread_factor
from pipeline.labelling.predictor import Guess, PredictionBatch
from pipeline.labelling.refine import refine_people
from pipeline.shards import list_shards, read_shard
from schemas.camera import CameraSource
from schemas.gender import DEFAULT_GENDER
from schemas.labels import Decision, StartSource
from schemas.person import PersonId, Photo
from tests.pipeline.body.poses import limits, shapes

PEOPLE = 16
UNLABELLED, NO_POINTS, FOUR_POINTS, BROKEN_SMPL = 12, 13, 14, 15
ACCEPT = AcceptConfig()
CERTAIN = np.full(46, 1e-4, np.float32), np.full(10, 1.0, np.float32)


def double(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def true_pose() -> torch.Tensor:
    """(16, 46) people who stand about upright in the image, limbs moved a little."""
    low, high = limits()
    generator = torch.Generator().manual_seed(1)
    q = 0.12 * torch.randn(PEOPLE, 46, generator=generator, dtype=torch.float64)
    q = torch.maximum(torch.minimum(q, high), low)
    q[:, 0] -= torch.pi
    return q


@pytest.fixture(scope="module")
def batch(open_skel: Skel) -> PersonBatch:
    """People with noisy keypoints of one pose and an SMPL label of a pose nearby, plus the odd cases."""
    generator = torch.Generator().manual_seed(0)
    q, betas = true_pose(), shapes(PEOPLE, 2, size=0.5)
    cam_t = torch.tensor([0.05, 0.1, 45.0], dtype=torch.float64).expand(PEOPLE, -1)
    xy = project(open_skel.keypoints(q, betas), cam_t)
    xy = xy + 0.005 * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    keypoints = torch.cat([xy, torch.ones_like(xy[..., :1])], -1).numpy().astype(np.float32)
    keypoints[NO_POINTS] = 0
    keypoints[FOUR_POINTS, 4:] = 0
    pose = 0.06 * torch.randn(PEOPLE, 24, 3, generator=generator)
    pose[:, 0] = matrix_to_axis_angle(orientation_to_matrix(q[:, :3])).float()
    pose[BROKEN_SMPL] = torch.nan
    has_smpl = np.arange(PEOPLE) != UNLABELLED
    return PersonBatch(
        ids=tuple(PersonId("made", "000000", f"p{i}", 0) for i in range(PEOPLE)),
        keypoints=keypoints,
        keypoints_3d=np.zeros((PEOPLE, 44, 4), np.float32),
        smpl_pose=pose.numpy() * has_smpl[:, None, None],
        smpl_betas=np.zeros((PEOPLE, 10), np.float32),
        has_smpl=has_smpl,
        focal=np.full(PEOPLE, FOCAL),
        camera_source=np.full(PEOPLE, CameraSource.HSMR, object),
        camera_turn=np.zeros((PEOPLE, 3), np.float32),
        gender=np.full(PEOPLE, DEFAULT_GENDER, object),
    )


def part(batch: PersonBatch, rows: list[int]) -> PersonBatch:
    return batch.take(np.array(rows, dtype=np.int64))


@pytest.fixture(scope="module")
def generations(batch: PersonBatch, open_skel: Skel, open_smpl: Smpl) -> list[LabelBatch]:
    """Rounds 0 to 3, each through the table as it would be published."""
    skelify = Skelify(open_skel)
    found = [convert_people(batch, SmplToSkel(open_smpl, open_skel))]
    for round in (1, 2, 3):
        parent = LabelBatch.from_table(found[-1].to_table(round - 1), batch.ids)
        found.append(refine_people(batch, parent, None, skelify, open_smpl, ACCEPT))
    return found


def test_conversion(generations: list[LabelBatch]) -> None:
    labels = generations[0]
    assert labels.decision[:UNLABELLED].tolist() == [Decision.CONVERTED] * UNLABELLED
    for odd in (UNLABELLED, BROKEN_SMPL):
        assert labels.decision[odd] == Decision.NO_LABEL
        assert not labels.has_label[odd]
        assert not labels.q[odd].any()
        assert labels.start_source[odd] == StartSource.NONE
    assert labels.has_label[NO_POINTS]
    assert np.isnan(labels.kp2d_error[NO_POINTS])
    assert not limit_violation(torch.as_tensor(labels.q[labels.has_label])).any()


def test_refinement_improves_and_never_worsens(generations: list[LabelBatch]) -> None:
    zero, one, two, three = generations
    assert set(one.decision[:UNLABELLED]) == {Decision.IMPROVED}
    for before, after in ((zero, one), (one, two), (two, three)):
        both = before.has_label & np.isfinite(before.kp2d_error)
        assert (after.energy[both] <= after.parent_energy[both]).all()
        assert (after.kp2d_error[both] <= before.kp2d_error[both] + ACCEPT.gross_error).all()
        assert (after.has_label >= before.has_label).all()
        improved = after.decision == Decision.IMPROVED
        assert (after.energy[improved] <= after.parent_energy[improved] - ACCEPT.margin_absolute).all()
        kept = both & ~improved
        np.testing.assert_array_equal(after.energy[kept], after.parent_energy[kept])
    assert (one.kp2d_error / zero.kp2d_error)[:UNLABELLED].mean() < 0.4
    assert one.decision[UNLABELLED] == Decision.FIRST_LABEL
    assert one.start_source[UNLABELLED] == StartSource.MEAN_POSE
    assert np.isnan(one.parent_energy[UNLABELLED])
    assert one.decision[NO_POINTS] == Decision.KEPT_TOO_FEW_KEYPOINTS
    assert one.decision[FOUR_POINTS] == Decision.KEPT_TOO_FEW_KEYPOINTS


def test_a_parent_weighs_the_same_in_the_round_after(generations: list[LabelBatch]) -> None:
    """Without news, what a label was measured as when it was taken is what it is measured as when it is a parent.

    Who had no label is another matter: in the round of the first label, too, its pose of start is what it is held to.
    """
    for before, after in (generations[1:3], generations[2:]):
        known = before.has_label & np.isfinite(before.energy)
        assert known.sum() >= UNLABELLED
        np.testing.assert_allclose(after.parent_energy[known], before.energy[known], rtol=1e-3, atol=1e-3)


def test_published_numbers_are_those_that_were_measured(
    generations: list[LabelBatch], batch: PersonBatch, open_skel: Skel
) -> None:
    for labels in generations:
        rows = np.flatnonzero(labels.has_label & np.isfinite(labels.kp2d_error))
        points = open_skel.keypoints(double(labels.q[rows]), double(labels.betas[rows]))
        keypoints = double(batch.keypoints[rows])
        cam_t = solve_camera(points, keypoints)
        np.testing.assert_allclose(labels.cam_t[rows], cam_t, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(labels.kp2d_error[rows], kp2d_error(project(points, cam_t), keypoints), atol=1e-9)


def test_a_second_round_without_new_information_changes_nothing(generations: list[LabelBatch], open_skel: Skel) -> None:
    one, two, three = generations[1:]
    for before, after in ((one, two), (two, three)):
        rows = np.flatnonzero(before.has_label)
        points = [open_skel.keypoints(double(x.q[rows]), double(x.betas[rows])) for x in (before, after)]
        moved = (points[0] - points[1]).norm(dim=-1).mean(1) * 1000
        assert moved.mean() < 2.0, "mm; a person may still finish converging"
        kept = np.array([str(d).startswith("kept") for d in after.decision]) & before.has_label
        for name in ("q", "betas", "q_std", "anchor_q", "start_source"):
            np.testing.assert_array_equal(getattr(after, name)[kept], getattr(before, name)[kept])
    assert ((three.decision == Decision.IMPROVED).mean()) <= 0.25
    np.testing.assert_array_equal(two.anchor_q[two.has_label], one.anchor_q[two.has_label])


def test_order_and_batches_do_not_matter(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    skelify, converter = Skelify(open_skel), SmplToSkel(open_smpl, open_skel)
    for rows in ([7], [UNLABELLED], [NO_POINTS], [15, 3, 12, 0, 9, 14]):
        some = part(batch, rows)
        zero = convert_people(some, converter)
        one = refine_people(some, zero, None, skelify, open_smpl, ACCEPT)
        for got, expected in ((zero, generations[0]), (one, generations[1])):
            assert got.decision.tolist() == expected.decision[rows].tolist()
            np.testing.assert_allclose(got.q, expected.q[rows], atol=1e-4)
            np.testing.assert_allclose(got.betas, expected.betas[rows], atol=1e-3)
            np.testing.assert_allclose(got.cam_t, expected.cam_t[rows], rtol=1e-4, atol=1e-4 * 45)
    nobody = part(batch, [])
    empty = refine_people(nobody, convert_people(nobody, converter), None, skelify, open_smpl, ACCEPT)
    assert empty.to_table(1).num_rows == 0


def test_labels_state_their_spread_as_it_was_measured(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curvature's standard deviation times the angle's factor; where nobody is fitted anew it stays as it was."""
    monkeypatch.setattr(candidate, "spread_factor", lambda: np.ones(46))
    plain = refine_people(batch, generations[0], None, Skelify(open_skel), open_smpl, ACCEPT)
    taken = np.isin(plain.decision, [Decision.IMPROVED, Decision.FIRST_LABEL])
    stated = np.minimum(plain.q_std * spread_factor(), np.pi)[taken]
    np.testing.assert_allclose(generations[1].q_std[taken], stated, rtol=1e-6)
    np.testing.assert_array_equal(generations[1].q_std[~taken], plain.q_std[~taken])


PREDICTED = np.arange(PEOPLE) % 3 == 0


def guess_of(q: np.ndarray, q_std: float) -> Guess:
    """A network's answer for somebody, whose camera it knows roughly and whose shape hardly."""
    betas, cam_t = np.zeros(10, np.float32), np.array([0.05, 0.1, 45.0], np.float32)
    return Guess(q.astype(np.float32), betas, cam_t, np.full(46, q_std, np.float32), np.ones(10, np.float32))


def said(q: np.ndarray, q_std: float, about: np.ndarray | None = None) -> PredictionBatch:
    """The same claim of everybody, or of some (N,)."""
    about = np.ones(len(q), bool) if about is None else about
    return PredictionBatch.from_guesses(
        [guess_of(row, q_std) if one else None for row, one in zip(q, about, strict=True)]
    )


def near_truth(std: float, seed: int) -> np.ndarray:
    noise = torch.randn(PEOPLE, 46, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (true_pose() + std * noise).numpy()


def angle_errors(labels: LabelBatch) -> np.ndarray:
    """Mean |q - truth| (N,) rad of all but the pelvis."""
    return np.abs(labels.q - true_pose().numpy())[:, 3:].mean(1)


def assert_same_labels(found: LabelBatch, expected: LabelBatch) -> None:
    """To the last bit, the columns of the prediction among them."""
    for field in fields(LabelBatch):
        got, wanted = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "ids":
            assert got == wanted
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=field.name)


def test_a_prediction_is_where_the_fit_starts(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    zero, truth = generations[0], true_pose().float().numpy()
    betas, cam_t = shapes(PEOPLE, 2, size=0.5).float().numpy(), np.array([0.05, 0.1, 45.0], np.float32)
    # every third person has a perfect guess, every third none, every third one that is not finite
    guesses = [
        None if i % 3 == 1 else Guess(truth[i] * (np.nan if i % 3 == 2 else 1), betas[i], cam_t, *CERTAIN)
        for i in range(PEOPLE)
    ]
    prediction = PredictionBatch.from_guesses(guesses)
    assert prediction.available.tolist() == PREDICTED.tolist()
    found = refine_people(batch, zero, prediction, Skelify(open_skel), open_smpl, ACCEPT)
    alone = refine_people(batch, zero, None, Skelify(open_skel), open_smpl, ACCEPT)
    np.testing.assert_allclose(found.q[~PREDICTED], alone.q[~PREDICTED], atol=1e-4)
    assert not (found.start_source[~PREDICTED] == StartSource.PREDICTION).any()
    taken = PREDICTED & np.isin(found.decision, [Decision.IMPROVED, Decision.FIRST_LABEL])
    assert taken.sum() >= 4
    np.testing.assert_array_equal(found.anchor_q[taken], alone.anchor_q[taken])
    assert (found.energy[taken] <= found.parent_energy[taken]).sum() == (~np.isnan(found.parent_energy[taken])).sum()
    assert angle_errors(found)[taken].mean() < 0.5 * angle_errors(alone)[taken].mean()


def test_an_honest_prediction_pulls_what_keypoints_do_not_show(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """Depth above all: joints come nearer to the truth along the view, in root-relative coordinates."""
    honest = said(near_truth(0.05, 7), 0.05)
    found = refine_people(batch, generations[0], honest, Skelify(open_skel), open_smpl, ACCEPT)
    alone, rows = generations[1], np.flatnonzero(np.arange(PEOPLE) <= UNLABELLED)
    points = open_skel.keypoints(true_pose(), shapes(PEOPLE, 2, size=0.5))
    errors = []
    for labels in (found, alone):
        body = open_skel.keypoints(double(labels.q), double(labels.betas))
        away = (body - body[:, 39:40] - points + points[:, 39:40])[torch.as_tensor(rows), :, 2]
        errors.append(float(away.abs().mean()))
    assert errors[0] < 0.7 * errors[1]


def test_what_a_label_was_held_to_is_in_its_row(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    q = near_truth(0.05, 7)
    found = refine_people(batch, generations[0], said(q, 0.05, PREDICTED), Skelify(open_skel), open_smpl, ACCEPT)
    columns = ("prediction_q", "prediction_q_std", "prediction_betas", "prediction_betas_std")
    for name in columns:
        assert not getattr(found, name)[~PREDICTED].any(), name
    taken = PREDICTED & np.isin(found.decision, [Decision.IMPROVED, Decision.FIRST_LABEL])
    np.testing.assert_array_equal(found.prediction_q[taken], q.astype(np.float32)[taken])
    assert (found.prediction_q_std[taken] >= np.float32(0.05)).all(), "never less than what was claimed"
    assert (found.prediction_betas_std[taken] >= 1).all()
    kept = PREDICTED & ~taken
    for name in columns:
        assert not getattr(found, name)[kept].any(), "those of the parent, who had none"
    for generation in generations:
        assert not any(getattr(generation, name).any() for name in columns)


def test_a_new_prediction_replaces_that_of_the_round_before(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    skelify, first, second = Skelify(open_skel), near_truth(0.15, 7), near_truth(0.05, 8)
    one = refine_people(batch, generations[0], said(first, 0.15), skelify, open_smpl, ACCEPT)
    parent = LabelBatch.from_table(one.to_table(1), batch.ids)
    two = refine_people(batch, parent, said(second, 0.05), skelify, open_smpl, ACCEPT)
    improved = two.decision == Decision.IMPROVED
    assert improved.sum() >= 8
    np.testing.assert_array_equal(two.prediction_q[improved], second.astype(np.float32)[improved])
    kept = two.has_label & ~improved
    np.testing.assert_array_equal(two.prediction_q[kept], one.prediction_q[kept])
    assert angle_errors(two)[improved].mean() < angle_errors(one)[improved].mean()


def test_a_prediction_stays_while_nothing_new_is_said(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """A round without a network, after one with: the earlier prediction still counts, and nobody moves."""
    skelify = Skelify(open_skel)
    one = refine_people(batch, generations[0], said(near_truth(0.1, 7), 0.1), skelify, open_smpl, ACCEPT)
    parent = LabelBatch.from_table(one.to_table(1), batch.ids)
    two = refine_people(batch, parent, None, skelify, open_smpl, ACCEPT)
    assert (two.decision == Decision.IMPROVED).mean() <= 0.25
    np.testing.assert_array_equal(two.prediction_q, one.prediction_q)
    known = np.isin(one.decision, [Decision.IMPROVED, Decision.FIRST_LABEL])
    assert known[UNLABELLED]
    np.testing.assert_allclose(two.parent_energy[known], one.energy[known], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(two.q, one.q, atol=0.02)


def test_a_lazy_predictor_changes_nothing(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """One that has learned its labels by heart and calls itself good: round after round the same, to the last bit."""
    skelify, parent = Skelify(open_skel), LabelBatch.from_table(generations[1].to_table(1), batch.ids)
    lazy = said(parent.q, 0.05, parent.has_label)
    found = refine_people(batch, parent, lazy, skelify, open_smpl, ACCEPT)
    assert_same_labels(found, refine_people(batch, parent, None, skelify, open_smpl, ACCEPT))
    np.testing.assert_array_equal(found.q, generations[2].q)


def test_a_humble_prediction_changes_nothing(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """Someone upside down and far off, by a network that says so itself: as before, to the last bit."""
    q, betas, place = np.zeros(46, np.float32), np.zeros(10, np.float32), np.array([3.0, 3.0, 10.0], np.float32)
    nonsense = [Guess(q, betas, place, np.ones_like(q), np.ones_like(betas))] * PEOPLE
    known = np.flatnonzero(generations[0].has_label)
    people, parent = batch.take(known), LabelBatch.from_table(generations[0].to_table(0), [batch.ids[i] for i in known])
    alone = refine_people(people, parent, None, Skelify(open_skel), open_smpl, ACCEPT)
    guesses = PredictionBatch.from_guesses(nonsense[: len(known)])
    assert_same_labels(refine_people(people, parent, guesses, Skelify(open_skel), open_smpl, ACCEPT), alone)


def test_a_wrong_prediction_that_calls_itself_good_hardly_harms(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """0.6 rad off in every angle, 0.05 rad claimed: widened to what it is, and outvoted."""
    boast = said(near_truth(0.6, 9), 0.05)
    found = refine_people(batch, generations[0], boast, Skelify(open_skel), open_smpl, ACCEPT)
    labelled = np.arange(PEOPLE) < UNLABELLED
    assert angle_errors(found)[labelled].mean() < 1.1 * angle_errors(generations[1])[labelled].mean()
    told = labelled & (found.prediction_q_std[:, 10] > 0)
    assert (found.prediction_q_std[told, 3:].mean(1) > 0.3).all()
    assert (found.energy[labelled] <= found.parent_energy[labelled]).all()


def test_order_and_batches_do_not_matter_to_predictions(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    q, skelify = near_truth(0.1, 7), Skelify(open_skel)
    whole = refine_people(batch, generations[0], said(q, 0.1, PREDICTED), skelify, open_smpl, ACCEPT)
    for rows in ([3], [4], [15, 3, 12, 0, 9, 14]):
        some, parent = part(batch, rows), generations[0].take(np.array(rows))
        found = refine_people(some, parent, said(q[rows], 0.1, PREDICTED[rows]), skelify, open_smpl, ACCEPT)
        assert found.decision.tolist() == whole.decision[rows].tolist()
        for name in ("q", "prediction_q", "prediction_q_std"):
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name)[rows], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(found.energy, whole.energy[rows], rtol=1e-4, atol=1e-4)


def test_real_photos(shared_dir: Path, open_skel: Skel, open_smpl: Smpl) -> None:
    """The 17 people of the real shards: nobody gets worse, most get much better, limits hold, all is finite."""
    shards = list_shards(str(shared_dir / "data" / "real_photos" / "{000000..000002}.tar"))
    people = [p for shard in shards for item in read_shard(shard) if isinstance(item, Photo) for p in item.people]
    assert len(people) == 17
    everyone = PersonBatch.from_people(people)
    zero = convert_people(everyone, SmplToSkel(open_smpl, open_skel))
    one = refine_people(everyone, zero, None, Skelify(open_skel), open_smpl, ACCEPT)
    for i, who in enumerate(everyone.ids):
        before, after = zero.kp2d_error[i] * 256, one.kp2d_error[i] * 256
        print(f"{who.key:28} {who.person} {before:7.2f} {after:7.2f} {one.decision[i]}")
    assert zero.has_label.sum() == 12
    had = zero.has_label
    assert (one.energy[had] <= one.parent_energy[had]).all()
    improved = one.decision == Decision.IMPROVED
    assert (one.kp2d_error[improved] < zero.kp2d_error[improved]).all()
    assert improved.sum() >= 10
    assert np.isfinite(one.q[one.has_label]).all()
    assert not limit_violation(torch.as_tensor(one.q[one.has_label])).any()


def test_3d_keypoints_reach_the_fit(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """True 3D keypoints make the refined labels, and those of people without a label, come nearer to the truth."""
    points = open_skel.keypoints(true_pose(), shapes(PEOPLE, 2, size=0.5))
    points_3d = np.ones((PEOPLE, 44, 4), np.float32)
    points_3d[..., :3] = (points - points[:, 8:9]).numpy()
    seen = replace(batch, keypoints_3d=points_3d)
    refined = refine_people(seen, generations[0], None, Skelify(open_skel), open_smpl, ACCEPT)
    rows = [*range(UNLABELLED), UNLABELLED]
    errors = []
    for labels in (refined, generations[1]):
        found = open_skel.keypoints(double(labels.q[rows]), double(labels.betas[rows]))
        away = (found - found[:, 39:40]) - (points - points[:, 39:40])[rows]
        errors.append(away.norm(dim=-1).mean(1))
    assert errors[0].mean() < 0.8 * errors[1].mean()
    assert errors[0][-1] < errors[1][-1]
