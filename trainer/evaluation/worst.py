"""The people that a network is furthest off on, drawn over their photos."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from jaxtyping import UInt8

from pipeline.image.person_camera import PersonCamera
from pipeline.render import Panel, PinholeCamera, crop_square, draw_keypoints, grid, overlay_mesh
from trainer.evaluation.crops import read_photo
from trainer.evaluation.evaluation_config import EvaluationInput
from trainer.evaluation.evaluation_set import EvaluationSet
from trainer.evaluation.output_bodies import Bodies
from trainer.evaluation.scores import MIN_CONFIDENCE_2D

N_WORST: Final = 24
_A_ROW: Final = 6
_PANEL_PX: Final = 320
_JPEG_QUALITY: Final = 92


def worst_people(source: EvaluationInput, rows: pa.Table) -> list[dict[str, Any]]:
    """The N_WORST rows of the largest errors, the worst first: MPJPE, or the mean error in boxes."""
    measure = "mean_error_box" if source.protocol.truth == "keypoints_2d" else "mpjpe_mm"
    order = [(measure, "descending"), ("person", "ascending")]
    return rows.filter(rows[measure].is_valid()).sort_by(order).slice(0, N_WORST).to_pylist()


def worst_sheet(source: EvaluationInput, people: EvaluationSet, rows: pa.Table, bodies: Bodies) -> bytes | None:
    """A JPEG of them all with their errors and, where these are the truth, their 2D keypoints; None where nobody has
    an error. people: everyone of the file.
    """
    worst = worst_people(source, rows)
    if not worst:
        return None
    body = bodies.of(worst[0]["network"], [people.genders[row["person"]] for row in worst])
    pose, betas = (torch.tensor([row[name] for row in worst], dtype=torch.float64) for name in ("pose", "betas"))
    with torch.inference_mode():
        meshes = body.vertices(pose, betas).numpy()
    panels = [
        Panel(image=_drawn(source, people, row, vertices, body.faces), caption=_caption(row))
        for row, vertices in zip(worst, meshes, strict=True)
    ]
    lines = [panels[start : start + _A_ROW] for start in range(0, len(panels), _A_ROW)]
    sheet = grid(lines, height=_PANEL_PX, title=f"{source.protocol.title}, {worst[0]['checkpoint']}: the worst")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(sheet), quality=_JPEG_QUALITY)


def _caption(row: dict[str, Any]) -> str:
    error = row["mpjpe_mm"]
    figure = f"{row['mean_error_box']:.3f} boxes" if error is None else f"{error:.0f} mm"
    return f"{row['person']} {row['image'][-28:]}\n{figure}"


def _drawn(
    source: EvaluationInput, people: EvaluationSet, row: dict[str, Any], vertices: np.ndarray, faces: np.ndarray
) -> UInt8[np.ndarray, "H W 3"]:
    photo, center = read_photo(source.images, row["image"]), np.array(row["center"])
    own = PersonCamera.of_label(row["focal"], np.array(row["camera_turn"]))
    camera = PinholeCamera.of_label(own, center, row["side"], row["photo_width"], row["photo_height"])
    drawn = overlay_mesh(photo, (vertices + np.array(row["cam_t"])) @ own.rotation.T, faces, camera)
    if source.protocol.truth == "keypoints_2d":
        drawn = draw_keypoints(drawn, people.keypoints_2d[row["person"]], min_confidence=MIN_CONFIDENCE_2D)
    return crop_square(drawn, center, row["side"], _PANEL_PX)
