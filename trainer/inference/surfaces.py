"""What people look at: posed bodies drawn over their photos, and posed bodies as mesh files."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import simplejpeg
import torch
from jaxtyping import Float

from pipeline.body import Skel
from pipeline.export.mesh_files import BONE_COLOR, SKIN_COLOR, MeshFormat, MeshPart, mesh_file
from pipeline.export.upright_axes import to_upright
from pipeline.labels import Storage
from pipeline.render import PinholeCamera, overlay_mesh
from schemas.camera import CameraSource
from trainer.inference.predicted_people import PlacedBodies, PredictedPeople, as_tensors
from trainer.inference.result_files import person_file, photo_file

_POSED_AT_ONCE = 64
_GREY = 200
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Surfaces:
    """skin (N, 6890, 3) m and, when asked for, skeleton (N, S, 3), without translation, camera axes."""

    skin: Float[np.ndarray, "N 6890 3"]
    skeleton: Float[np.ndarray, "N S 3"] | None


def pose_surfaces(batch: PredictedPeople, skel: Skel, *, with_skeleton: bool) -> Surfaces:
    """The meshes of everyone in the batch."""
    skin, skeleton = [], []
    with torch.inference_mode():
        for start in range(0, len(batch), _POSED_AT_ONCE):
            some = slice(start, start + _POSED_AT_ONCE)
            posed = skel(*as_tensors(skel, batch.q[some], batch.betas[some]), with_skeleton=with_skeleton)
            skin.append(posed.skin_vertices.float().cpu().numpy())
            if posed.skeleton_vertices is not None:
                skeleton.append(posed.skeleton_vertices.float().cpu().numpy())
    return Surfaces(np.concatenate(skin), np.concatenate(skeleton) if skeleton else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayWriter:
    """Writes below overlays/, one picture per photo with all of its people, the nearest drawn last.

    hide_photos: grey in place of the photo, for pictures that may be shown where the photo may not.
    """

    storage: Storage
    skel: Skel
    hide_photos: bool = False

    def write(self, batch: PredictedPeople, placed: PlacedBodies, surfaces: Surfaces) -> None:
        """Draw the photos of a batch: all people of a photo are in one batch."""
        depth = placed.photo_cam_t[:, 2] + placed.pelvis[:, 2]
        for rows in _rows_of_photos(batch):
            photo = batch.photos[rows[0]]
            image = simplejpeg.decode_jpeg(photo.jpeg)
            if self.hide_photos:
                image = np.full_like(image, _GREY)
            for row in sorted(rows, key=lambda row: -depth[row]):
                vertices, camera = _seen(batch, placed, surfaces, row)
                image = overlay_mesh(image, vertices, self.skel.faces.cpu().numpy(), camera)
            data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_JPEG_QUALITY)
            self.storage.write(photo_file("overlays", batch.people[rows[0]].id, ".jpg"), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshWriter:
    """Writes below meshes/, one file per person: skin and, with_skeleton, bones; the pelvis is the origin."""

    storage: Storage
    skel: Skel
    format: MeshFormat
    with_skeleton: bool = False

    def write(self, batch: PredictedPeople, placed: PlacedBodies, surfaces: Surfaces) -> None:
        """Write everyone of a batch; m, upright axes (`pipeline.export.upright_axes`)."""
        skin_faces = self.skel.faces.cpu().numpy()
        for row, person in enumerate(batch.people):
            parts = [MeshPart("skin", to_upright(placed.in_photo(surfaces.skin[row], row)), skin_faces, SKIN_COLOR)]
            if self.with_skeleton and surfaces.skeleton is not None:
                bones = to_upright(placed.in_photo(surfaces.skeleton[row], row))
                parts.append(MeshPart("skeleton", bones, self.skel.skeleton_faces.cpu().numpy(), BONE_COLOR))
            self.storage.write(person_file("meshes", person.id, f".{self.format}"), mesh_file(parts, self.format))


def _seen(
    batch: PredictedPeople, placed: PlacedBodies, surfaces: Surfaces, row: int
) -> tuple[np.ndarray, PinholeCamera]:
    """Vertices (6890, 3) m and the camera that draws them: HSMR's of the crop, or the photo's own."""
    person, photo = batch.people[row], batch.photos[row]
    if batch.camera_source[row] is CameraSource.HSMR:
        camera = PinholeCamera.of_crop(person.center, person.side, photo.width, photo.height)
        return surfaces.skin[row] + batch.cam_t[row], camera
    focal, x, y = placed.cameras[row]
    camera = PinholeCamera(focal=focal, center_x=x, center_y=y, width=photo.width, height=photo.height)
    return placed.in_photo(surfaces.skin[row], row) + placed.pelvis[row] + placed.photo_cam_t[row], camera


def _rows_of_photos(batch: PredictedPeople) -> Iterator[list[int]]:
    """Rows of the people of each photo, who follow one another."""
    for _, group in groupby(range(len(batch)), key=lambda row: batch.people[row].id[:3]):
        yield list(group)
