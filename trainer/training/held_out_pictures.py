"""The same few held-out people at every validation, with what the network makes of them: progress that one can see."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from pipeline.image.crop import CROP_PX
from pipeline.render.overlay import Panel, draw_keypoints, grid, overlay_mesh
from pipeline.render.rasterizer import PinholeCamera
from trainer.data import CropBatch
from trainer.network.networks import NetworkOutput
from trainer.training.trained_body import TrainedBodies

PEOPLE: Final = 8
_MIDDLE: Final = (CROP_PX - 1) / 2  # px; crop units are 0 there
_HEIGHT: Final = 192


@dataclass(slots=True)
class HeldOutPictures:
    """The first PEOPLE that a validation sees: a row each of crop with keypoints, and crop with the predicted body."""

    rows: list[tuple[Panel, Panel]] = field(default_factory=list)

    def take_in(self, batch: CropBatch, predicted: NetworkOutput, bodies: TrainedBodies[Any, Any]) -> None:
        """People of a batch, until there are enough. Predictions that are not finite are left out of the picture."""
        wanted = min(PEOPLE - len(self.rows), len(batch))
        if wanted <= 0:
            return
        chosen = type(predicted)(*(values[:wanted] for values in predicted))
        vertices = bodies.of(batch.first(wanted).to(bodies.device)).skin(chosen) + chosen.cam_t[:, None]
        for person in range(wanted):
            self.rows.append(_panels(batch, person, vertices[person], bodies.faces))

    def sheet(self) -> UInt8[np.ndarray, "H W 3"]:
        """All of them, four people wide; raises ValueError where nobody was seen."""
        return grid([[panel for row in self.rows[start::2] for panel in row] for start in (0, 1)], height=_HEIGHT)


def _panels(
    batch: CropBatch, person: int, vertices: Float[Tensor, "V 3"], faces: Integer[np.ndarray, "F 3"]
) -> tuple[Panel, Panel]:
    crop = batch.patches[person].cpu().permute(1, 2, 0).contiguous().numpy()
    points = batch.keypoints_2d[person].cpu().numpy()
    marked = draw_keypoints(crop, np.column_stack([points[:, :2] * CROP_PX + _MIDDLE, points[:, 2]]))
    drawn, caption = crop, "no body"
    if bool(torch.isfinite(vertices).all()):
        camera = PinholeCamera(
            focal=float(batch.focal[person]) * CROP_PX,
            center_x=_MIDDLE,
            center_y=_MIDDLE,
            width=CROP_PX,
            height=CROP_PX,
        )
        drawn, caption = overlay_mesh(crop, vertices.double().cpu().numpy(), faces, camera), "predicted"
    who = batch.ids[person]
    return Panel(image=marked, caption=f"{who.key} {who.person}"[-24:]), Panel(image=drawn, caption=caption)
