"""Pictures for people to look at: a mesh over its photo, keypoints, captioned panels side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from pipeline.render.rasterizer import SUBSAMPLES, Light, PinholeCamera, render
from schemas.keypoints import LIMBS, MIN_CONFIDENCE

MESH_COLOR: Final = (178.0, 204.0, 240.0)
GOOD_COLOR: Final = (255, 196, 0)
POINT_RADIUS_SHARE: Final = 1 / 110
"""Radius of a drawn keypoint, as a share of the picture's longer side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture of a composition and the words above it."""

    image: UInt8[np.ndarray, "H W 3"]
    caption: str


def overlay_mesh(
    photo: UInt8[np.ndarray, "H W 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Integer[np.ndarray, "F 3"],
    camera: PinholeCamera,
    *,
    alpha: float = 0.85,
    color: tuple[float, float, float] = MESH_COLOR,
    light: Light | None = None,
    subsamples: int = SUBSAMPLES,
) -> UInt8[np.ndarray, "H W 3"]:
    """The photo (H, W, 3) uint8 with the mesh over it, `alpha` opaque; vertices (V, 3) m, camera frame (with cam_t)."""
    drawn = render(vertices, faces, color, camera, background=photo, light=light, subsamples=subsamples).image
    mixed = (1.0 - alpha) * photo.astype(np.float32) + alpha * drawn.astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def draw_keypoints(
    image: UInt8[np.ndarray, "H W 3"],
    keypoints: Float[np.ndarray, "K D"],
    limbs: Sequence[tuple[int, int]] = LIMBS,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    color: tuple[int, int, int] = GOOD_COLOR,
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the image with points and limbs; weak or non-finite points are left out.

    keypoints (K, 2) px or (K, 3) with confidence.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    shown = np.asarray(np.isfinite(keypoints).all(axis=1))
    if keypoints.shape[1] == 3:
        shown = shown & (np.nan_to_num(keypoints[:, 2]) >= min_confidence)
    radius = max(1.5, POINT_RADIUS_SHARE * max(picture.size))
    for a, b in limbs:
        if shown[a] and shown[b]:
            ends = [(float(keypoints[k, 0]), float(keypoints[k, 1])) for k in (a, b)]
            draw.line(ends, fill=color, width=max(1, round(radius * 0.7)))
    for k in np.flatnonzero(shown):
        x, y = float(keypoints[k, 0]), float(keypoints[k, 1])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(220, 40, 40), outline=(255, 255, 255))
    return np.asarray(picture)


def crop_square(
    image: UInt8[np.ndarray, "H W 3"], center: Float[np.ndarray, "2"], side: float, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The square (center (2,) px, side px) of the image, resized to (size, size, 3); black outside the photo."""
    half = side / 2
    # PIL's box has pixel edges at integers; our pixel coordinates have centres there.
    left, top = float(center[0]) - half + 0.5, float(center[1]) - half + 0.5
    matrix = (side / size, 0.0, left, 0.0, side / size, top)
    cropped = Image.fromarray(image).transform(
        (size, size), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(cropped)


def points_in_square(
    points: Float[np.ndarray, "K D"], center: Float[np.ndarray, "2"], side: float, size: int
) -> Float[np.ndarray, "K D"]:
    """Points (K, 2) px of the photo, or (K, 3) with confidence, as they lie in what `crop_square` makes of it."""
    found = np.array(points, np.float64)
    found[:, :2] = (found[:, :2] - _corner(center, side)) * (size / side) - 0.5
    return found


def camera_of_square(whole: PinholeCamera, center: Float[np.ndarray, "2"], side: float, size: int) -> PinholeCamera:
    """The camera that looks at what `crop_square` makes of a photo as `whole` looks at the photo."""
    scale, corner = size / side, _corner(center, side)
    return PinholeCamera(
        focal=whole.focal * scale,
        center_x=(whole.center_x - corner[0]) * scale - 0.5,
        center_y=(whole.center_y - corner[1]) * scale - 0.5,
        width=size,
        height=size,
    )


def _corner(center: Float[np.ndarray, "2"], side: float) -> Float[np.ndarray, "2"]:
    return np.asarray(center, np.float64) - side / 2


def grid(rows: Sequence[Sequence[Panel]], *, height: int = 320, title: str = "") -> UInt8[np.ndarray, "H W 3"]:
    """Rows of captioned panels (for example one person a row: before, after), on white, an optional title above.

    Each panel is scaled to `height` px; its caption stands above it.
    """
    if not any(rows):
        raise ValueError("no panels to compose; give at least one row with at least one panel")
    pad = max(4, height // 40)
    strips = [_strip(row, height, pad) for row in rows if row]
    head = _caption(title, max(strip.width for strip in strips), round(height / 10)) if title else None
    parts = [head, *strips] if head else strips
    sheet = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return np.asarray(sheet)


def _strip(row: Sequence[Panel], height: int, pad: int) -> Image.Image:
    tiles = []
    for panel in row:
        width = round(panel.image.shape[1] * height / panel.image.shape[0])
        picture = Image.fromarray(panel.image).resize((width, height), Image.Resampling.LANCZOS)
        tiles.append((_caption(panel.caption, width, round(height / 16)), picture))
    caption_height = max(caption.height for caption, _ in tiles)
    width = sum(picture.width + pad for _, picture in tiles) + pad
    strip = Image.new("RGB", (width, caption_height + height + pad), "white")
    x = pad
    for caption, picture in tiles:
        strip.paste(caption, (x, caption_height - caption.height))
        strip.paste(picture, (x, caption_height))
        x += picture.width + pad
    return strip


def _caption(text: str, width: int, font_size: int) -> Image.Image:
    """The text on white, at most `width` px wide: the letters shrink until the longest line fits."""
    size = max(8, font_size)
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font = ImageFont.load_default(size)
    while size > 8 and probe.multiline_textbbox((0, 0), text, font=font)[2] > width - 4:
        size -= 1
        font = ImageFont.load_default(size)
    bottom = int(probe.multiline_textbbox((0, 0), text, font=font)[3])
    label = Image.new("RGB", (width, bottom + size // 2), "white")
    ImageDraw.Draw(label).multiline_text((2, size // 5), text, fill="black", font=font)
    return label
