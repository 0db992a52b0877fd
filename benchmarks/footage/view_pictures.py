"""The label of one view, drawn into the other views: depth that is wrong shows there."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.footage.measured import Footage
from benchmarks.footage.sighted_views import SightedViews, person_box
from benchmarks.footage.video_frames import video_frames
from pipeline.body import Skel
from pipeline.fit import SkelifyResult
from pipeline.image.person_camera import photo_points
from pipeline.render.overlay import Panel, crop_square, draw_keypoints, grid, overlay_mesh
from pipeline.render.rasterizer import PinholeCamera

_MARGIN, _SIZE = 1.15, 300


def draw_views(footage: Footage, folder: Path, seen: SightedViews, found: SkelifyResult, skel: Skel, out: Path) -> None:
    """A row per view whose label is shown, a column per view it is drawn into; the middle frame; JPEG to `out`."""
    frame = len(footage.seconds) // 2
    number = int(footage.numbers[frame])
    photos = [video_frames(folder, view, [number])[0] for view in range(footage.views)]
    rows = []
    for label in np.flatnonzero(seen.frame == frame):
        chosen = slice(int(label), int(label) + 1)
        vertices = (skel(found.q[chosen], found.betas[chosen]).skin_vertices + found.cam_t[chosen, None])[0].numpy()
        world = (vertices - seen.translation[label]) @ seen.rotation[label]
        own = int(seen.view[label])
        rows.append([_panel(footage, photos[view], view, frame, world, skel, own) for view in range(footage.views)])
    Image.fromarray(grid(rows, height=_SIZE)).save(out, quality=80)


def _panel(
    footage: Footage, photo: np.ndarray, view: int, frame: int, world: np.ndarray, skel: Skel, own: int
) -> Panel:
    lens, (height, width) = footage.lenses[view], photo.shape[:2]
    camera = PinholeCamera.of_lens(lens, width, height)
    body = world @ footage.rotation[view].T + footage.translation[view]
    drawn = overlay_mesh(photo, body, skel.faces.numpy(), camera, alpha=0.75)
    truth = footage.points_3d[frame] @ footage.rotation[view].T + footage.translation[view]
    known = np.where(np.isfinite(truth), 0.0, np.nan)[:, :2]
    drawn = draw_keypoints(drawn, photo_points(lens, np.nan_to_num(truth, nan=1.0)) + known)
    center, side = person_box(footage.points_2d[view, frame])
    caption = f"label of view {own + 1}" + (", its own view" if view == own else f", in view {view + 1}")
    return Panel(image=crop_square(drawn, center, _MARGIN * side, _SIZE), caption=caption)
