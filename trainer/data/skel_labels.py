"""The SKEL labels of a generation as training targets: in the augmented crop, and how much each of them counts."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Shaped
from torch import Tensor

from pipeline.body.representation import mirror_q, turn_in_image_plane, turn_pelvis
from schemas.gender import Gender, chosen_gender
from trainer.data.shard_walk import JoinedPerson
from trainer.data.shown_crops import ShownCrops
from trainer.data.weights import LabelWeightConfig, betas_weights, joint_weights, within_limits


def skel_targets(
    people: Sequence[JoinedPerson], shown: ShownCrops, weights: LabelWeightConfig
) -> dict[str, Shaped[np.ndarray, "B ..."]]:
    """The fields of `TrainBatch` that are of labels."""
    has_label = np.array([p.sample is not None and p.label.has_label for p in people], bool)
    q = q_in_crop(np.stack([p.label.q for p in people]), shown.flip, shown.rotation, shown.turn) * has_label[:, None]
    poor_fit = np.array([p.label.poor_fit for p in people], bool)
    q_std = mirrored_joint_order(np.stack([p.label.q_std for p in people]), shown.flip)
    teaches = has_label[:, None] & within_limits(q)
    return {
        "q": q,
        "q_std": np.where(has_label[:, None], q_std, 0).astype(np.float32),
        "betas": np.stack([p.label.betas for p in people]) * has_label[:, None],
        "has_label": has_label,
        "female": np.array([_gender(p) == "female" for p in people], bool),
        "joint_weight": joint_weights(weights, q_std, poor_fit) * teaches,
        "betas_weight": betas_weights(weights, poor_fit) * has_label,
    }


def _gender(joined: JoinedPerson) -> Gender:
    """That of the label's body; without a label, what the shard says of the person."""
    said = None if joined.sample is None else joined.sample.person.gender
    return joined.label.gender or chosen_gender("auto", said)


def q_in_crop(
    q: Float32[np.ndarray, "B 46"],
    flip: Bool[np.ndarray, "B"],
    rotation: Float64[np.ndarray, "B"],
    turn: Float64[np.ndarray, "B 3 3"] | None = None,
) -> Float32[np.ndarray, "B 46"]:
    """q (B, 46) of the person as the crop shows it: mirrored where flip (B,), turned by rotation (B,) rad.

    turn: of the pelvis to the axes of the crop's upright camera, before that.
    Mirrored angles are kept where they leave the joint limits (decision 0017): the pose is the true one of the mirror
    image; `within_limits` finds the joints.
    """
    exact = torch.from_numpy(q.astype(np.float64))
    if turn is not None:
        exact = turn_pelvis(exact, torch.from_numpy(turn))
    shown: Tensor = torch.where(torch.from_numpy(flip)[:, None], mirror_q(exact), exact)
    return turn_in_image_plane(shown, torch.from_numpy(rotation)).numpy().astype(np.float32)


def mirrored_joint_order(
    q_std: Float32[np.ndarray, "B 46"], flip: Bool[np.ndarray, "B"]
) -> Float32[np.ndarray, "B 46"]:
    """q_std (B, 46) with left and right exchanged where flip (B,)."""
    mirrored = mirror_q(torch.from_numpy(np.array(q_std))).abs().numpy()
    return np.where(flip[:, None], mirrored, q_std)
