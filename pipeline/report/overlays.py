"""Pictures of a report's people: the photo with its keypoints, the labels over it, and the new one from the side."""

import io
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import simplejpeg
from jaxtyping import Float64, UInt8
from PIL import Image

from pipeline.body import Skel
from pipeline.labels import read_labels
from pipeline.labels.files.columns import identities, positions
from pipeline.render import PinholeCamera, crop_square, draw_keypoints, overlay_mesh
from pipeline.render.label_overlay import CROP_MARGIN, Label, camera_of, labels_by_person, pose, skel_of
from pipeline.render.overlay import camera_of_square, points_in_square
from pipeline.report.page import Picture
from pipeline.shards import read_shard
from schemas.gender import Gender
from schemas.input_shard import InputShard, ShardId
from schemas.person import Person, PersonId, Photo

SIZE: Final = 256  # px, of a square picture
READING_SECONDS: Final = 120.0
"""No shard is opened after so long a reading of others: a tar on S3 is read up to the last photo that is wanted."""

_Item = TypeVar("_Item")

_QUALITY: Final = 78
_SIDE_COLOR: Final = (236, 238, 241)
_SIDE_DISTANCE: Final = 12.0  # body heights: nearly without perspective
_COLUMNS: Final = (
    "dataset", "shard", "key", "person", "has_label", "q", "betas", "cam_t", "focal", "camera_turn", "gender",
    "kp2d_error",
)  # fmt: skip


@dataclass(slots=True)
class _Clock:
    """How long an iterator was waited for; what is done with its items does not count."""

    seconds: float = 0.0

    def timed(self, items: Iterator[_Item]) -> Iterator[_Item]:
        while True:
            start = time.monotonic()
            item = next(items, None)
            self.seconds += time.monotonic() - start
            if item is None:
                return
            yield item


@dataclass(slots=True)
class Overlays:
    """What was drawn, by person; problems: why others were not, a line for each cause."""

    pictures: dict[PersonId, tuple[Picture, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def labels_of(files: Mapping[ShardId, str], people: Collection[PersonId]) -> dict[PersonId, Label]:
    """The labels of these people, from the files of a generation; reads only those they are in."""
    found: dict[PersonId, Label] = {}
    for shard in sorted({person.shard_id for person in people} & files.keys()):
        table = read_labels(files[shard], _COLUMNS)
        wanted = pa.array([f"{person.key}\x1f{person.person}" for person in people if person.shard_id == shard])
        found |= labels_by_person(table.filter(pa.array(positions(identities(table), wanted) >= 0)))
    return found


def draw_people(
    shards: Sequence[InputShard],
    people: Collection[PersonId],
    labels: Sequence[tuple[str, Mapping[PersonId, Label]]],
    skels: Mapping[Gender, Skel],
) -> Overlays:
    """Of the people whose photos can be read; shards: where they may be. labels: by title, the newest last."""
    overlays = Overlays()
    known = {info.id: info for info in shards}
    clock = _Clock()
    for shard in sorted({person.shard_id for person in people}):
        wanted = {person for person in people if person.shard_id == shard}
        if shard not in known:
            overlays.problems.append(f"{shard}: none of the shards that are known")
        elif clock.seconds > READING_SECONDS:
            overlays.problems.append(f"{shard}: not looked for, {READING_SECONDS:.0f} s were spent on others")
        else:
            for photo, person in clock.timed(_photos(known[shard], wanted, overlays.problems)):
                drawn = [(title, rows.get(person.id)) for title, rows in labels]
                try:
                    overlays.pictures[person.id] = _pictures(photo, person, drawn, skels)
                except (ValueError, KeyError) as error:  # of a photo that does not decode, or a body that is not here
                    overlays.problems.append(f"{shard}: {person.id.key} {person.id.person} cannot be drawn: {error}")
    return overlays


def _photos(info: InputShard, wanted: set[PersonId], problems: list[str]) -> Iterator[tuple[Photo, Person]]:
    """The wanted people of a shard with their photos; stops reading at the last one."""
    left = set(wanted)
    failure = ""
    for item in read_shard(info, check_photos=False, keys={person.key for person in wanted}):
        if not isinstance(item, Photo):
            failure = failure or item.detail
            continue
        for person in item.people:
            if person.id in left:
                left.discard(person.id)
                yield item, person
        if not left:
            return
    if left:
        why = failure or "the shard does not have them"
        problems.append(f"{info.id}: {len(left)} people without a photo: {why}")


def _pictures(
    photo: Photo, person: Person, labels: Sequence[tuple[str, Label | None]], skels: Mapping[Gender, Skel]
) -> tuple[Picture, ...]:
    side = person.side * CROP_MARGIN
    crop = crop_square(simplejpeg.decode_jpeg(photo.jpeg), person.center, side, SIZE)
    points = points_in_square(person.keypoints_2d, person.center, side, SIZE)
    found = [Picture("photo and keypoints", _jpeg(draw_keypoints(crop, points)))]
    side_view: Picture | None = None
    for title, row in labels:
        if row is None:
            found.append(Picture(f"{title}: no label", _jpeg(crop)))
            continue
        skel = skel_of(row, skels)
        vertices, own = pose(row, skel).skin, camera_of(row)
        whole = PinholeCamera.of_label(own, person.center, person.side, photo.width, photo.height)
        camera = camera_of_square(whole, person.center, side, SIZE)
        faces = skel.faces.numpy()
        found.append(Picture(title, _jpeg(overlay_mesh(crop, vertices @ own.rotation.T, faces, camera))))
        side_view = Picture(f"{title}, from the side", _jpeg(_from_the_side(vertices, faces)))
    return (*found, side_view) if side_view is not None else tuple(found)


def _from_the_side(vertices: Float64[np.ndarray, "V 3"], faces: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """As seen from the camera's right, at the same height, the whole body in the picture."""
    centred = vertices - (vertices.max(0) + vertices.min(0)) / 2
    turned = np.stack([centred[:, 2], centred[:, 1], -centred[:, 0]], 1)
    extent = float(np.ptp(turned[:, :2], axis=0).max())
    distance = _SIDE_DISTANCE * extent
    camera = PinholeCamera(
        focal=0.9 * SIZE * _SIDE_DISTANCE, center_x=(SIZE - 1) / 2, center_y=(SIZE - 1) / 2, width=SIZE, height=SIZE
    )
    background = np.full((SIZE, SIZE, 3), _SIDE_COLOR, np.uint8)
    return overlay_mesh(background, turned + np.array([0, 0, distance]), faces, camera, alpha=1.0)


def _jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "JPEG", quality=_QUALITY, optimize=True)
    return sink.getvalue()
