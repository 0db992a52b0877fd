"""The SMPL pseudo-labels of shards as training targets of HMR2.0, in the augmented crop."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from scipy.spatial.transform import Rotation

from pipeline.body.smpl_pose import mirror_smpl, turn_root
from pipeline.image.person_view import turned_smpl
from schemas.person import SmplLabel
from schemas.skel import N_BETAS, N_JOINTS
from trainer.data.shard_walk import JoinedPerson
from trainer.data.shown_crops import ShownCrops


def smpl_targets(people: Sequence[JoinedPerson], shown: ShownCrops) -> dict[str, Shaped[np.ndarray, "B ..."]]:
    """The fields of `SmplBatch` that are of labels."""
    labels = [_label(person) for person in people]
    has_label = np.array([label is not None for label in labels], bool)
    has_betas = np.array([label is not None and label.has_betas for label in labels], bool)
    no_betas = np.zeros(N_BETAS, np.float32)
    return {
        "rotations": _rotations(labels, shown),
        "betas": np.stack([no_betas if label is None else label.betas for label in labels]),
        "has_label": has_label,
        "joint_weight": np.tile(has_label[:, None], (1, N_JOINTS)).astype(np.float32),
        "betas_weight": has_betas.astype(np.float32),
    }


def _label(joined: JoinedPerson) -> SmplLabel | None:
    """In the axes of HSMR's crop camera; a calibrated one's was measured in those of the photo's."""
    if joined.sample is None or joined.sample.person.smpl is None:
        return None
    smpl, row = joined.sample.person.smpl, joined.label
    return turned_smpl(smpl, row.camera.rotation.T) if row.calibrated else smpl


def _rotations(labels: Sequence[SmplLabel | None], shown: ShownCrops) -> Float32[np.ndarray, "B 24 3 3"]:
    plain = np.tile(np.eye(3), (len(labels), N_JOINTS, 1, 1))
    rows = [row for row, label in enumerate(labels) if label is not None]
    if not rows:
        return plain.astype(np.float32)
    vectors = np.stack([label.pose for label in labels if label is not None]).reshape(-1, 3)
    plain[rows] = Rotation.from_rotvec(vectors.astype(np.float64)).as_matrix().reshape(-1, N_JOINTS, 3, 3)
    rotations = torch.from_numpy(plain)
    if shown.turn is not None:
        rotations = turn_root(rotations, torch.from_numpy(shown.turn))
    rotations = torch.where(torch.from_numpy(shown.flip)[:, None, None, None], mirror_smpl(rotations), rotations)
    cos, sin = np.cos(shown.rotation), np.sin(shown.rotation)
    in_plane = np.tile(np.eye(3), (len(labels), 1, 1))
    in_plane[:, 0, 0], in_plane[:, 0, 1], in_plane[:, 1, 0], in_plane[:, 1, 1] = cos, sin, -sin, cos
    return turn_root(rotations, torch.from_numpy(in_plane)).numpy().astype(np.float32)
