"""What people look at: posed bodies drawn over their photos, and posed bodies as mesh files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import simplejpeg
import torch
from jaxtyping import Float, Int

from pipeline.body import Skel
from pipeline.export.mesh_files import BONE_COLOR, SKIN_COLOR, MeshFormat, MeshPart, mesh_file
from pipeline.export.upright_axes import to_upright
from pipeline.labelling.rows_by_gender import rows_by_gender
from pipeline.labels import Storage
from pipeline.render import PinholeCamera, overlay_mesh
from schemas.camera import CameraSource
from schemas.gender import Gender
from trainer.inference.placed_bodies import PlacedBodies
from trainer.inference.predicted_people import PosedPeople, PredictedPeople, as_tensors
from trainer.inference.result_files import person_file, photo_file

_POSED_AT_ONCE = 64
_GREY = 200
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Surfaces:
    """skin (N, 6890, 3) m and, when asked for, skeleton (N, S, 3), without translation, camera axes."""

    skin: Float[np.ndarray, "N 6890 3"]
    skeleton: Float[np.ndarray, "N S 3"] | None


def pose_surfaces(batch: PredictedPeople, skels: Mapping[Gender, Skel], *, with_skeleton: bool) -> Surfaces:
    """The SKEL meshes of everyone in the batch; skels: by the gender of people."""
    parts = [
        (rows, _posed_alike(batch.rows(rows), skels[gender], with_skeleton))
        for gender, rows in rows_by_gender(batch.genders)
    ]
    place = np.argsort(np.concatenate([rows for rows, _ in parts]))
    bones = [part.skeleton for _, part in parts if part.skeleton is not None]
    skin = np.concatenate([part.skin for _, part in parts])[place]
    return Surfaces(skin, np.concatenate(bones)[place] if bones else None)


def _posed_alike(batch: PredictedPeople, skel: Skel, with_skeleton: bool) -> Surfaces:
    """Of people who have one body."""

    def posed(some: slice) -> Surfaces:
        found = skel(*as_tensors(skel, batch.q[some], batch.betas[some]), with_skeleton=with_skeleton)
        bones = found.skeleton_vertices
        return Surfaces(
            found.skin_vertices.float().cpu().numpy(), None if bones is None else bones.float().cpu().numpy()
        )

    return surfaces_in_parts(len(batch), posed)


def surfaces_in_parts(count: int, posed: Callable[[slice], Surfaces]) -> Surfaces:
    """Of `count` people, some at a time: a mesh weighs 80 KB."""
    with torch.inference_mode():
        parts = [posed(slice(start, start + _POSED_AT_ONCE)) for start in range(0, count, _POSED_AT_ONCE)]
    bones = [part.skeleton for part in parts if part.skeleton is not None]
    return Surfaces(np.concatenate([part.skin for part in parts]), np.concatenate(bones) if bones else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayWriter:
    """Writes below overlays/, one picture per photo with all of its people, the nearest drawn last.

    hide_photos: grey in place of the photo, for pictures that may be shown where the photo may not.
    """

    storage: Storage
    faces: Int[np.ndarray, "F 3"]
    hide_photos: bool = False

    def write(self, batch: PosedPeople, placed: PlacedBodies, surfaces: Surfaces) -> None:
        """Draw the photos of a batch: all people of a photo are in one batch."""
        depth = placed.photo_cam_t[:, 2] + placed.pelvis[:, 2]
        for rows in _rows_of_photos(batch):
            photo = batch.photos[rows[0]]
            image = simplejpeg.decode_jpeg(photo.jpeg)
            if self.hide_photos:
                image = np.full_like(image, _GREY)
            for row in sorted(rows, key=lambda row: -depth[row]):
                vertices, camera = _seen(batch, placed, surfaces, row)
                image = overlay_mesh(image, vertices, self.faces, camera)
            data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_JPEG_QUALITY)
            self.storage.write(photo_file("overlays", batch.people[rows[0]].id, ".jpg"), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshWriter:
    """Writes below meshes/, one file per person: skin and, with bone_faces, bones; the pelvis is the origin."""

    storage: Storage
    faces: Int[np.ndarray, "F 3"]
    format: MeshFormat
    bone_faces: Int[np.ndarray, "B 3"] | None = None

    def write(self, batch: PosedPeople, placed: PlacedBodies, surfaces: Surfaces) -> None:
        """Write everyone of a batch; m, upright axes (`pipeline.export.upright_axes`)."""
        for row, person in enumerate(batch.people):
            parts = [MeshPart("skin", to_upright(placed.in_photo(surfaces.skin[row], row)), self.faces, SKIN_COLOR)]
            if self.bone_faces is not None and surfaces.skeleton is not None:
                bones = to_upright(placed.in_photo(surfaces.skeleton[row], row))
                parts.append(MeshPart("skeleton", bones, self.bone_faces, BONE_COLOR))
            self.storage.write(person_file("meshes", person.id, f".{self.format}"), mesh_file(parts, self.format))


def _seen(batch: PosedPeople, placed: PlacedBodies, surfaces: Surfaces, row: int) -> tuple[np.ndarray, PinholeCamera]:
    """Vertices (6890, 3) m and the camera that draws them: HSMR's of the crop, or the photo's own."""
    person, photo = batch.people[row], batch.photos[row]
    if batch.camera_source[row] is CameraSource.HSMR:
        camera = PinholeCamera.of_crop(person.center, person.side, photo.width, photo.height)
        return surfaces.skin[row] + batch.cam_t[row], camera
    focal, x, y = placed.cameras[row]
    camera = PinholeCamera(focal=focal, center_x=x, center_y=y, width=photo.width, height=photo.height)
    return placed.in_photo(surfaces.skin[row], row) + placed.pelvis[row] + placed.photo_cam_t[row], camera


def _rows_of_photos(batch: PosedPeople) -> Iterator[list[int]]:
    """Rows of the people of each photo, who follow one another."""
    for _, group in groupby(range(len(batch)), key=lambda row: batch.people[row].id[:3]):
        yield list(group)
