"""What the made-up data set says of a photo: the JPEG with or without EXIF, its people with or without the lens."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image
from PIL.ExifTags import IFD, Base

from pipeline.demo_set.photo_cameras import PhotoCamera
from pipeline.demo_set.placement import Place
from pipeline.demo_set.scene import Photo, Sighting
from pipeline.image.person_view import turned_points, turned_smpl
from pipeline.shards import RawSample, person_record
from schemas.camera import CameraSource
from schemas.person import SmplLabel

JPEG_QUALITY: Final = 90
_START_OF_IMAGE, _APP1 = b"\xff\xd8", b"\xff\xe1"


def photo_sample(
    key: str, photo: Photo, camera: PhotoCamera, labels: Sequence[SmplLabel | None], places: Sequence[Place]
) -> RawSample:
    """One sample of a shard. labels: fitted in the crops, so in the axes of the crop cameras."""
    jpeg = simplejpeg.encode_jpeg(photo.image, quality=JPEG_QUALITY)
    if camera.lens.source is CameraSource.EXIF:
        jpeg = with_focal_length(jpeg, round(camera.focal_mm), camera.width, camera.height)
    people = [
        _record(sighting, label, camera, place)
        for sighting, label, place in zip(photo.sightings, labels, places, strict=True)
    ]
    return RawSample(key=key, jpeg=jpeg, people=people)


def with_focal_length(jpeg: bytes, millimetres: int, width: int, height: int) -> bytes:
    """The JPEG with the EXIF that cameras write: the 35 mm equivalent in whole mm, and the photo's size, px."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update(
        {Base.FocalLengthIn35mmFilm: millimetres, Base.ExifImageWidth: width, Base.ExifImageHeight: height}
    )
    segment = exif.tobytes()
    return _START_OF_IMAGE + _APP1 + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[len(_START_OF_IMAGE) :]


def _record(sighting: Sighting, smpl: SmplLabel | None, camera: PhotoCamera, place: Place) -> dict[str, object]:
    """Under a calibrated lens the body is stated in the photo camera's axes, else as it was fitted in the crop."""
    calibrated = camera.lens.source is CameraSource.CALIBRATION
    turn = place.camera.rotation if calibrated else np.eye(3)
    return person_record(
        keypoints_2d=sighting.keypoints_2d,
        keypoints_3d=turned_points(sighting.keypoints_3d, turn),
        center=sighting.center,
        scale=sighting.scale,
        smpl=None if smpl is None else turned_smpl(smpl, turn),
        lens=camera.lens if calibrated else None,
    )
