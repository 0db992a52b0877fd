"""One row of a label generation: the decision taken, where q came from, the Arrow schema of the Parquet files."""

from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Shaped

from schemas.arrow_types import float_vector
from schemas.skel import N_BETAS, N_Q

POOR_FIT_MM: Final = 60.0
"""PVE max above which the conversion of a pseudo-label did not follow it (HSMR's own bound)."""


class Decision(StrEnum):
    """What a round did with a person (docs/objectives.md)."""

    CONVERTED = "converted"  # round 0: SMPL label converted to SKEL
    CONVERTED_POOR_FIT = "converted_poor_fit"  # round 0: converted, but PVE max above the flag bound
    IMPROVED = "improved"
    FIRST_LABEL = "first_label"
    KEPT_NOT_BETTER = "kept_not_better"
    KEPT_BETAS_OUT_OF_RANGE = "kept_betas_out_of_range"
    KEPT_LIMITS = "kept_limits"
    KEPT_NOT_FINITE = "kept_not_finite"
    KEPT_TOO_FEW_KEYPOINTS = "kept_too_few_keypoints"
    KEPT_GROSS_MISFIT = "kept_gross_misfit"  # further from the keypoints than their noise explains
    KEPT_FAR_FROM_SMPL = "kept_far_from_smpl"  # in generations from before energies decided
    KEPT_UNREADABLE = "kept_unreadable"
    NO_LABEL = "no_label"
    IMPORTED = "imported"  # taken from the labels of somebody else, in a round 0
    KEPT_NOT_IMPORTED = "kept_not_imported"  # an import has no label of this person
    # imports: the person has no label, since the one to be imported is refused
    REFUSED_NOT_FINITE = "refused_not_finite"
    REFUSED_BETAS_OUT_OF_RANGE = "refused_betas_out_of_range"
    REFUSED_FAR_FROM_SMPL = "refused_far_from_smpl"  # a conversion that is not near its pseudo-label
    REFUSED_AS_FIRST_LABEL = "refused_as_first_label"  # by the acceptance rule, in a later round


WITHOUT_LABEL: Final = frozenset(
    {Decision.NO_LABEL, *(decision for decision in Decision if decision.startswith("refused_"))}
)
"""Decisions of rows that have no label; `kept_unreadable` says nothing of that."""


class StartSource(StrEnum):
    """Where the q of the row's label started from."""

    SMPL = "smpl"  # conversion of the SMPL pseudo-label
    PARENT = "parent"  # the parent generation's label
    PREDICTION = "prediction"  # the network of the previous round
    MEAN_POSE = "mean_pose"
    IMPORTED = "imported"
    NONE = "none"


LABEL_SCHEMA: Final = pa.schema(
    [
        pa.field("round", pa.int32(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("person", pa.int32(), nullable=False),
        pa.field("has_label", pa.bool_(), nullable=False),
        pa.field("q", float_vector(N_Q), nullable=False),
        pa.field("betas", float_vector(N_BETAS), nullable=False),
        pa.field("cam_t", float_vector(3), nullable=False),
        pa.field("q_std", float_vector(N_Q), nullable=False),
        pa.field("anchor_q", float_vector(N_Q), nullable=False),
        pa.field("anchor_betas", float_vector(N_BETAS), nullable=False),
        pa.field("prediction_q", float_vector(N_Q), nullable=False),
        pa.field("prediction_q_std", float_vector(N_Q), nullable=False),
        pa.field("prediction_betas", float_vector(N_BETAS), nullable=False),
        pa.field("prediction_betas_std", float_vector(N_BETAS), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("start_source", pa.string(), nullable=False),
        pa.field("kp2d_error", pa.float64()),
        pa.field("parent_kp2d_error", pa.float64()),
        pa.field("candidate_kp2d_error", pa.float64()),
        pa.field("kp2d_heldout_error", pa.float64()),
        pa.field("kp2d_heldout_in_50", pa.float64()),
        pa.field("kp2d_heldout_in_90", pa.float64()),
        pa.field("energy", pa.float64()),
        pa.field("parent_energy", pa.float64()),
        pa.field("pve_mean_mm", pa.float64()),
        pa.field("pve_max_mm", pa.float64()),
        pa.field("limit_violation", pa.float64()),
        pa.field("iterations", pa.int32()),
        pa.field("focal", pa.float64()),
        pa.field("camera_source", pa.string()),
        pa.field("camera_turn", float_vector(3), nullable=False),
        pa.field("height_m", pa.float64()),
        pa.field("photo_group", pa.int64()),
        pa.field("gender", pa.string()),
    ]
)
"""Vectors are never null (a null row would shift `flatten()`); `has_label` says whether they are valid.
q, q_std, anchor_q rad; cam_t m; anchor_q, anchor_betas are the guess that the label's fit was held to: a later round
without new information holds to the same one, else it would count the same keypoints again and drift. prediction_*: the
network's answer that the fit was held to besides, and how far off that may be (rad, betas); standard deviation 0: none.
kp2d errors in crop units, kp2d_heldout_error on keypoints hidden from a second fit of a few people; kp2d_heldout_in_50,
kp2d_heldout_in_90: the shares of those inside the regions that should hold 50 and 90 % of them. energy, parent_energy:
of label and parent given this round's evidence, in squared standard deviations (pipeline.labelling.evidence), lower is
more probable; limit_violation = largest excess over a limit, rad. focal, camera_source (schemas.camera.CameraSource)
and camera_turn say which camera q, cam_t and the errors hold for: the focal length in crop units, and the rotation
vector (rad) from the crop camera's axes to the photo camera's. Null: HSMR's camera, as in every generation from before
there was another. height_m: of the body that betas make, from soles to crown. photo_group: equal for photos that show
the same, by content or as frames of one sequence (pipeline.shards.photo_group); null in generations from before there
were groups. gender (schemas.gender): of the SKEL body that q and betas belong to; null without a label, and in
generations from before it was stated, all of whose labels are of one body (body.gender of their lineage)."""

IDENTITY_COLUMNS: Final = ("dataset", "shard", "key", "person")


def is_poor_fit(
    decision: Shaped[np.ndarray, "N"], start_source: Shaped[np.ndarray, "N"], pve_max_mm: Float64[np.ndarray, "N"]
) -> Bool[np.ndarray, "N"]:
    """(N,): is the label a conversion that did not follow its SMPL mesh, made in this round or kept since?

    decision, start_source and pve_max_mm (NaN: unknown) of the rows. A kept row has a decision of its own, but the
    figures of the label that was kept; those it is judged by POOR_FIT_MM, whatever fit.convert.poor_fit_mm said.
    """
    flagged = np.asarray(decision) == Decision.CONVERTED_POOR_FIT.value
    return flagged | ((np.asarray(start_source) == StartSource.SMPL.value) & (pve_max_mm > POOR_FIT_MM))
