"""Labels drawn over their photos, generation beside generation, one row of panels per person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from jaxtyping import Float

from pipeline.body import Skel
from pipeline.image.crop import CROP_PX
from pipeline.image.person_camera import PersonCamera
from pipeline.render.overlay import Panel, crop_square, draw_keypoints, overlay_mesh
from pipeline.render.rasterizer import PinholeCamera
from schemas.gender import DEFAULT_GENDER, Gender
from schemas.person import Person, PersonId, Photo

CROP_MARGIN: Final = 1.15
"""Of the person box, so that feet and hands are not at the very edge."""

Label = Mapping[str, Any]
"""One row of a label table."""


def labels_by_person(table: pa.Table) -> dict[PersonId, Label]:
    """The labelled rows of a table by their identity; all rows of a table of truths, which has no has_label."""
    rows = (table.filter(table["has_label"]) if "has_label" in table.column_names else table).to_pylist()
    return {PersonId(r["dataset"], r["shard"], r["key"], r["person"]): r for r in rows}


def camera_of(row: Label) -> PersonCamera:
    """The camera that a label holds for."""
    focal = row.get("focal")
    return PersonCamera.of_label(None if focal is None else float(str(focal)), np.array(row["camera_turn"], np.float64))


def skel_of(row: Label, skels: Mapping[Gender, Skel]) -> Skel:
    """The body that a label is posed by. Raises KeyError where it is not among several."""
    return next(iter(skels.values())) if len(skels) == 1 else skels[row.get("gender") or DEFAULT_GENDER]


@dataclass(frozen=True, slots=True)
class Surfaces:
    """skin (6890, 3) and bones (S, 3), None where there are none: m, in the axes of the person's camera, with cam_t."""

    skin: Float[np.ndarray, "V 3"]
    bones: Float[np.ndarray, "S 3"] | None


def pose(label: Label, skel: Skel, *, bones: bool = False) -> Surfaces:
    """The body of a label; bones: with those that the body has."""
    vectors = (torch.as_tensor(np.array([label[name]]), dtype=skel.dtype) for name in ("q", "betas", "cam_t"))
    with torch.no_grad():
        found = skel(*vectors, with_skeleton=bones and skel.arrays.skeleton is not None)
    skeleton = found.skeleton_vertices
    return Surfaces(found.skin_vertices[0].double().numpy(), None if skeleton is None else skeleton[0].double().numpy())


def person_panels(
    photo: Photo,
    person: Person,
    labels: Sequence[tuple[str, Label | None]],
    skels: Mapping[Gender, Skel],
    *,
    size: int = 320,
    hide_photo: bool = False,
) -> list[Panel]:
    """The photo with its keypoints, then each label's mesh over it; captions carry the label's kp2d error.

    labels: (title, row or None for a person who has none there). skels: by the gender of labels; one poses all, of
    both the male one those that do not state it. hide_photo: grey in place of the photo, and the keypoints over every
    mesh, for pictures that may be shown where the photo may not.
    """
    image = simplejpeg.decode_jpeg(photo.jpeg)
    if hide_photo:
        image = np.full_like(image, 200)
    points = crop_square(draw_keypoints(image, person.keypoints_2d), person.center, person.side * CROP_MARGIN, size)
    panels = [Panel(image=points, caption=f"{person.id.key} {person.id.person}")]
    return [*panels, *(_label_panel(image, photo, person, label, skels, size, hide_photo) for label in labels)]


def _label_panel(
    image: np.ndarray,
    photo: Photo,
    person: Person,
    label: tuple[str, Label | None],
    skels: Mapping[Gender, Skel],
    size: int,
    with_keypoints: bool,
) -> Panel:
    side, (title, row) = person.side * CROP_MARGIN, label
    if row is None:
        return Panel(image=crop_square(image, person.center, side, size), caption=f"{title}: no label")
    skel = skel_of(row, skels)
    own = camera_of(row)
    camera = PinholeCamera.of_label(own, person.center, person.side, photo.width, photo.height)
    drawn = overlay_mesh(image, pose(row, skel).skin @ own.rotation.T, skel.faces.numpy(), camera)
    if with_keypoints:
        drawn = draw_keypoints(drawn, person.keypoints_2d)
    error = row.get("kp2d_error")
    figure = f" {float(error) * CROP_PX:.1f} px" if isinstance(error, float) else ""
    return Panel(image=crop_square(drawn, person.center, side, size), caption=f"{title}{figure}")
