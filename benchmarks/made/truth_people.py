"""The people of the truth benchmark: standard and extreme poses, a detector's keypoints, and converted pseudo-labels.

Made with stated parameters, no pictures:
- half of them demo poses, half drawn uniformly over 90 % of every joint range, turned any way ("extreme");
- keypoints of `pipeline.demo_set.detector` (noise 1-2.6 px times a difficulty, drop-outs one by one and by limb, 2.5 %
  misplaced, 1 person in 40 with arms or legs swapped); 15 % of the points count as hidden; a further 2.5 % land up to
  0.35 crops away with full confidence, so about 5 % are gross outliers;
- the start: the SMPL pseudo-label that `pipeline.demo_set.pseudo_labels` makes of the truth (5-8 degrees a joint,
  leans, depth flips, overextended hinges, shape nearer the mean), converted to SKEL, under the camera that fits best.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.made.people import Bodies, Sighted, posed
from pipeline.body import Skel, Smpl
from pipeline.demo_set.detector import (
    DetectorErrors,
    assumed_errors,
    detect_keypoints,
    detect_keypoints_3d,
    meant_places,
)
from pipeline.demo_set.poses import sample_bodies
from pipeline.demo_set.pseudo_labels import PseudoLabels, make_pseudo_labels
from pipeline.fit import SmplToSkel
from pipeline.image.camera import project, solve_camera
from schemas.keypoints import N_KEYPOINTS
from schemas.skel import N_Q, N_UNLIMITED, q_limits

_HIDDEN, _EXTRA_OUTLIERS, _SHARE_OF_RANGE = 0.15, 0.025, 0.9
_CHUNK = 128  # meshes at once


@dataclass(frozen=True)
class TruthPeople:
    """sighted: truth, start and 2D keypoints; keypoints_3d (B, 44, 4) m and confidence; extreme (B,) bool;
    smpl_pose (B, 24, 3), smpl_betas (B, 10): the pseudo-label.
    """

    sighted: Sighted
    keypoints_3d: Tensor
    extreme: Tensor
    smpl_pose: Tensor
    smpl_betas: Tensor


def truth_people(skel: Skel, smpl: Smpl, count: int, seed: int, detector: DetectorErrors | None = None) -> TruthPeople:
    """`count` people who have a pseudo-label; detector: whose errors the keypoints have, by default `assumed_errors`,
    so that figures compare with older ones.
    """
    rng = np.random.default_rng(seed)
    states = sample_bodies(rng, count)
    extreme = np.arange(count) % 2 == 1
    truth = posed(skel, rng, np.where(extreme[:, None], _extreme_q(rng, states.q), states.q), states.betas)
    labels = _pseudo_labels(rng, skel, truth)
    keypoints, keypoints_3d = _detected(rng, skel, truth, detector or assumed_errors())
    start = _converted(skel, smpl, labels, keypoints)
    pose, betas = torch.as_tensor(labels.pose).to(truth.q), torch.as_tensor(labels.betas).to(truth.q)
    return TruthPeople(Sighted(truth, start, keypoints), keypoints_3d, torch.as_tensor(extreme), pose, betas)


def _extreme_q(rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
    """Anywhere in the joint ranges; the pelvis keeps the turn of the demo pose."""
    low, high = q_limits()
    q = (low + high) / 2 + _SHARE_OF_RANGE * (rng.random((len(like), N_Q)) - 0.5) * (high - low)
    q[:, :N_UNLIMITED] = like[:, :N_UNLIMITED]
    return q


def _pseudo_labels(rng: np.random.Generator, skel: Skel, truth: Bodies) -> PseudoLabels:
    """Drawn again for the few whom the data set would leave without a label."""
    rotations = skel.bone_motion(truth.q, truth.betas)[2].rotations.double().numpy()
    betas = truth.betas.double().numpy()
    labels = make_pseudo_labels(rng, rotations, betas)
    while not labels.has_pose.all():
        again, has = make_pseudo_labels(rng, rotations, betas), labels.has_pose
        labels = PseudoLabels(
            pose=np.where(has[:, None, None], labels.pose, again.pose),
            betas=np.where(has[:, None], labels.betas, again.betas),
            has_pose=has | again.has_pose,
        )
    return labels


def _detected(rng: np.random.Generator, skel: Skel, truth: Bodies, errors: DetectorErrors) -> tuple[Tensor, Tensor]:
    points = skel.keypoints(truth.q, truth.betas)
    meant = torch.as_tensor(meant_places(points.double().numpy(), errors)).to(points)
    crop = project(meant, truth.cam_t).double().numpy()
    points_3d, flat, spatial = points.double().numpy(), [], []
    inside = np.ones(N_KEYPOINTS, dtype=bool)
    for person in range(len(crop)):
        seen, present = detect_keypoints(rng, crop[person], rng.random(N_KEYPOINTS) >= _HIDDEN, inside, errors)
        seen = _with_outliers(rng, seen, present)
        flat.append(seen)
        spatial.append(detect_keypoints_3d(rng, points_3d[person], seen, present))
    return torch.as_tensor(np.array(flat)).to(points), torch.as_tensor(np.array(spatial)).to(points)


def _with_outliers(rng: np.random.Generator, seen: np.ndarray, present: np.ndarray) -> np.ndarray:
    wrong = present & (rng.random(N_KEYPOINTS) < _EXTRA_OUTLIERS)
    angle, distance = rng.uniform(0, 2 * np.pi, N_KEYPOINTS), rng.uniform(0.08, 0.35, N_KEYPOINTS)
    away = distance[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.column_stack([seen[:, :2] + wrong[:, None] * away, seen[:, 2]])


def _converted(skel: Skel, smpl: Smpl, labels: PseudoLabels, keypoints: Tensor) -> Bodies:
    converter = SmplToSkel(smpl, skel)
    pose, betas = torch.as_tensor(labels.pose), torch.as_tensor(labels.betas)
    found = [converter.fit(*part) for part in zip(pose.split(_CHUNK), betas.split(_CHUNK), strict=True)]
    q, shape = torch.cat([x.q for x in found]), torch.cat([x.betas for x in found])
    return Bodies(q, shape, solve_camera(skel.keypoints(q, shape), keypoints))
