"""The errors of people by the protocol of their data set, one value per person and measure."""

from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.numerics.error_metrics import distances, mpjpe_mm, pa_mpjpe_mm
from schemas.keypoints import PELVIS
from trainer.evaluation.output_bodies import Surface

SCORED_3D = (*range(25, 38), 43)
"""The 14 points of 3DPW and H36M-P2."""
MIN_CONFIDENCE_2D = 0.5

Scores = dict[str, Float[Tensor, "B"]]


def keypoint_scores(predicted: Float[Tensor, "B 44 3"], truth: Float[Tensor, "B 44 3"]) -> Scores:
    """3DPW and H36M-P2: keypoint 39 is taken off both, then the 14 are compared, whatever their confidences are."""
    predicted, truth = ((points - points[:, PELVIS, None])[:, SCORED_3D] for points in (predicted, truth))
    return {"mpjpe_mm": mpjpe_mm(predicted, truth), "pa_mpjpe_mm": pa_mpjpe_mm(predicted, truth)}


def surface_scores(predicted: Surface, truth: Surface) -> Scores:
    """MOYO: joints and vertices, each body moved so that its joint 0 is at the origin."""
    own, true = (Surface(body.joints - body.joints[:, :1], body.vertices - body.joints[:, :1])
                 for body in (predicted, truth))  # fmt: skip
    return {
        "mpjpe_mm": mpjpe_mm(own.joints, true.joints),
        "pa_mpjpe_mm": pa_mpjpe_mm(own.joints, true.joints),
        "mpvpe_mm": mpjpe_mm(own.vertices, true.vertices),
        "pa_mpvpe_mm": pa_mpjpe_mm(own.vertices, true.vertices),
    }


def box_errors(
    predicted: Float[Tensor, "B 44 2"], truth: Float[Tensor, "B 44 3"], unit: Float[Tensor, "B"]
) -> tuple[Float[Tensor, "B 44"], Bool[Tensor, "B 44"]]:
    """COCO, LSP-Extended and PoseTrack: distances in units of the box's longer side, and which of them count.

    Points in crop units, the truth's with confidence; unit (B,): crop side over the longer side of the box.
    """
    return distances(predicted, truth[..., :2], unit), truth[..., 2] > MIN_CONFIDENCE_2D
