"""Drawing bodies: a CPU rasteriser and the overlays built on it."""

from pipeline.render.overlay import Panel, crop_square, draw_keypoints, grid, overlay_mesh
from pipeline.render.rasterizer import (
    Light,
    PinholeCamera,
    Rendering,
    concatenate,
    render,
    vertex_normals,
)

__all__ = [
    "Light",
    "Panel",
    "PinholeCamera",
    "Rendering",
    "concatenate",
    "crop_square",
    "draw_keypoints",
    "grid",
    "overlay_mesh",
    "render",
    "vertex_normals",
]
