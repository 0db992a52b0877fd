"""Rounds over people in memory: conversion, refinement, and that a second look without news changes nothing."""

from dataclasses import replace
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
from pipeline.labelling.acceptance import AcceptConfig, limit_violation
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import convert_people
from pipeline.labelling.predictor import Guess, PredictionBatch
from pipeline.labelling.refine import refine_people
from pipeline.shards import list_shards, read_shard
from schemas.camera import CameraSource
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
    # a big change in depth can take a pose too far from its SMPL label, whatever the keypoints say
    assert set(one.decision[:UNLABELLED]) <= {Decision.IMPROVED, Decision.KEPT_FAR_FROM_SMPL}
    improved = one.decision[:UNLABELLED] == Decision.IMPROVED
    assert improved.sum() >= 9
    for before, after in ((zero, one), (one, two), (two, three)):
        both = before.has_label & np.isfinite(before.kp2d_error)
        assert (after.kp2d_error[both] <= before.kp2d_error[both] + 1e-5).all()
        assert (after.has_label >= before.has_label).all()
    assert (one.kp2d_error / zero.kp2d_error)[:UNLABELLED][improved].mean() < 0.4
    assert one.decision[UNLABELLED] == Decision.FIRST_LABEL
    assert one.start_source[UNLABELLED] == StartSource.MEAN_POSE
    assert one.decision[NO_POINTS] == Decision.KEPT_TOO_FEW_KEYPOINTS
    assert one.decision[FOUR_POINTS] == Decision.KEPT_TOO_FEW_KEYPOINTS


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
    assert prediction.available.tolist() == [i % 3 == 0 for i in range(PEOPLE)]
    found = refine_people(batch, zero, prediction, Skelify(open_skel), open_smpl, ACCEPT)
    alone = refine_people(batch, zero, None, Skelify(open_skel), open_smpl, ACCEPT)
    others = ~prediction.available
    np.testing.assert_allclose(found.q[others], alone.q[others], atol=1e-4)
    predicted = found.start_source == StartSource.PREDICTION
    assert predicted.sum() >= 3
    assert not predicted[others].any()
    turned = found.anchor_q[predicted] - truth[predicted]
    np.testing.assert_allclose(np.remainder(turned + np.pi, 2 * np.pi) - np.pi, 0, atol=1e-3)
    assert (found.kp2d_error[predicted] < alone.kp2d_error[predicted]).all(), "kept only where it is better"
    assert (np.abs(found.q - truth)[predicted].mean()) < np.abs(alone.q - truth)[predicted].mean()


def test_a_useless_prediction_changes_nothing(
    batch: PersonBatch, generations: list[LabelBatch], open_skel: Skel, open_smpl: Smpl
) -> None:
    """Someone upside down and far off: the fit from the parent label wins, to the last bit."""
    q, betas, place = np.zeros(46, np.float32), np.zeros(10, np.float32), np.array([3.0, 3.0, 10.0], np.float32)
    nonsense = [Guess(q, betas, place, np.ones_like(q), np.ones_like(betas))] * PEOPLE
    known = np.flatnonzero(generations[0].has_label)
    people, parent = batch.take(known), LabelBatch.from_table(generations[0].to_table(0), [batch.ids[i] for i in known])
    alone = refine_people(people, parent, None, Skelify(open_skel), open_smpl, ACCEPT)
    guesses = PredictionBatch.from_guesses(nonsense[: len(known)])
    found = refine_people(people, parent, guesses, Skelify(open_skel), open_smpl, ACCEPT)
    same = found.start_source != StartSource.PREDICTION
    assert same.sum() >= 10
    np.testing.assert_array_equal(found.q[same], alone.q[same])
    assert (found.kp2d_error[~same] < alone.kp2d_error[~same]).all()


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
    assert (one.kp2d_error[had] <= zero.kp2d_error[had] + 1e-6).all()
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
