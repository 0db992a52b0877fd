"""What the made-up people and places look like: skin, hair, clothes with patterns, backgrounds, camera noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Array = NDArray[np.float64]
UInt8Array = NDArray[np.uint8]

SKIN_TONES: Final = np.array(
    [[244, 208, 184], [232, 186, 152], [214, 162, 124], [184, 132, 96], [142, 96, 68], [98, 66, 48], [72, 48, 38]],
    float,
)
HAIR_TONES: Final = np.array(
    [[28, 22, 20], [58, 40, 28], [96, 64, 36], [164, 124, 72], [196, 176, 136], [132, 58, 30], [150, 150, 152]], float
)
_EYES: Final = (2800, 6260)
_NOSE: Final = 332


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyMap:
    """The T-pose, to which clothes are cut: vertices (V, 3) m in S-axes, joints (24, 3) m (SKEL order)."""

    vertices: Float[np.ndarray, "V 3"]
    joints: Float[np.ndarray, "24 3"]

    def along_arm(self) -> Float[np.ndarray, "V"]:
        """(V,) 0 at the shoulder, 1 at the wrist, below 0 on the trunk; either side."""
        shoulder, wrist = abs(self.joints[15, 0]), abs(self.joints[18, 0])
        return (np.abs(self.vertices[:, 0]) - shoulder) / (wrist - shoulder)

    def along_leg(self) -> Float[np.ndarray, "V"]:
        """(V,) 0 at the hips, 1 at the ankles, below 0 above the hips."""
        hip, ankle = self.joints[1, 1], self.joints[3, 1]
        return (hip - self.vertices[:, 1]) / (hip - ankle)

    def head_height(self) -> Float[np.ndarray, "V"]:
        """(V,) 0 at the nose, 1 at the crown."""
        nose, crown = self.vertices[_NOSE, 1], self.vertices[:, 1].max()
        return (self.vertices[:, 1] - nose) / (crown - nose)


def _paint(rng: np.random.Generator, colorfulness: float) -> Array:
    """(3,) a colour as things have it: of any brightness, seldom saturated."""
    return np.clip(rng.uniform(25, 230) + rng.normal(0.0, colorfulness, 3), 5, 250)


def dress(rng: np.random.Generator, body: BodyMap) -> Float[np.ndarray, "V 3"]:
    """(V, 3) vertex colours in [0, 255] of one person: skin, then trousers, shirt, shoes and hair over it."""
    colors = np.tile(SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.92, 1.05), (len(body.vertices), 1))
    arm, leg = body.along_arm(), body.along_leg()
    neck = body.vertices[:, 1] > body.joints[15, 1] + 0.05
    trunk = (arm < 0.06) & (leg < 0.1) & ~neck
    shirt = (trunk & (leg < -0.12)) | ((arm > -0.6) & (arm < rng.choice([0.0, 0.3, 0.5, 0.97])) & ~neck & (leg < -0.5))
    trousers = (leg >= -0.16) & (leg < rng.choice([0.22, 0.46, 0.95, 0.95])) & (arm < 0.2)
    shoes = leg > rng.choice([0.93, 1.0])
    for region, pattern in ((trousers, _cloth(rng, 0.25)), (shirt, _cloth(rng, 0.7)), (shoes, _cloth(rng, 0.0))):
        colors[region] = pattern(body.vertices[region])
    _draw_face(rng, body, colors)
    _draw_hair(rng, body, colors)
    return np.clip(colors, 0, 255)


def _cloth(rng: np.random.Generator, patterned: float) -> Callable[[Array], Array]:
    """A cloth as a function of T-pose position: plain, striped, checked or blotched, with a little weave noise."""
    first, second = _paint(rng, 38.0), _paint(rng, 38.0)
    kind = rng.choice(["stripes", "checks", "blotches"]) if rng.random() < patterned else "plain"
    period = rng.uniform(0.05, 0.13)
    direction = rng.choice([0, 1])
    waves = rng.normal(0.0, 22.0, (6, 3))
    phases = rng.uniform(0, 2 * np.pi, 6)

    def color(points: Array) -> Array:
        stripes = np.floor(points[:, direction] / period) % 2
        if kind == "stripes":
            share = stripes
        elif kind == "checks":
            share = (stripes + np.floor(points[:, 1 - direction] / period) % 2) / 2
        elif kind == "blotches":
            share = (np.cos(points @ waves.T + phases).sum(axis=1) > 0.4).astype(float)
        else:
            share = np.zeros(len(points))
        weave = 6.0 * np.cos(points @ (waves.T * 6) + phases).mean(axis=1)
        return first + share[:, None] * (second - first) + weave[:, None]

    return color


def _draw_face(rng: np.random.Generator, body: BodyMap, colors: Array) -> None:
    """Dark eyes and a reddish mouth, so that the front of the head can be told from its back."""
    for eye in _EYES:
        near = np.linalg.norm(body.vertices - body.vertices[eye], axis=1) < 0.013
        colors[near] = rng.uniform(20, 70, 3)
    mouth = body.vertices[_NOSE] + np.array([0.0, -0.045, -0.012])
    offset = (body.vertices - mouth) / np.array([0.024, 0.009, 0.03])
    colors[np.linalg.norm(offset, axis=1) < 1] = (150, 70, 70)


def _draw_hair(rng: np.random.Generator, body: BodyMap, colors: Array) -> None:
    if rng.random() < 0.06:
        return
    height = body.head_height()
    head = body.joints[13]
    depth = (body.vertices[:, 2] - head[2]) / 0.1
    fringe, nape = rng.uniform(0.6, 0.75), rng.choice([0.25, 0.0, -0.7])
    hair = (height > fringe) | ((height > nape) & (depth < 0.35 + 0.25 * height))
    hair &= np.abs(body.vertices[:, 0]) < 0.2
    colors[hair] = HAIR_TONES[rng.integers(len(HAIR_TONES))] + rng.normal(0, 7, (int(hair.sum()), 1))


def random_background(rng: np.random.Generator, width: int, height: int) -> UInt8[np.ndarray, "H W 3"]:
    """A place: wall and floor, cloudy texture, objects, a pattern; slightly out of focus."""
    canvas = _wall_and_floor(rng, width, height)
    for _ in range(rng.integers(0, 12)):
        _put_object(rng, canvas)
    canvas *= 1 + _clouds(rng, width, height)[..., None] * rng.uniform(0.05, 0.4)
    canvas = gaussian_filter(canvas, (sigma := rng.uniform(0.3, 2.2), sigma, 0))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _wall_and_floor(rng: np.random.Generator, width: int, height: int) -> Array:
    rows = np.linspace(0, 1, height)[:, None, None]
    top, bottom = _paint(rng, 22.0), _paint(rng, 22.0)
    canvas = np.broadcast_to(top + rows * (0.4 * (bottom - top)), (height, width, 3)).copy()
    horizon = int(height * rng.uniform(0.45, 0.85))
    floor = _paint(rng, 20.0)
    canvas[horizon:] = floor * (0.75 + 0.35 * rows[horizon:])
    if rng.random() < 0.4:
        _tile(rng, canvas, horizon)
    return canvas


def _tile(rng: np.random.Generator, canvas: Array, horizon: int) -> None:
    """Boards or tiles on the floor, running towards a vanishing point; bricks or panels on the wall."""
    height, width, _ = canvas.shape
    y, x = np.mgrid[horizon:height, :width].astype(float)
    depth = 1.0 / (y - horizon + 6.0)
    across = (x - width * rng.uniform(0.2, 0.8)) * depth * 3
    checks = (np.floor(across) + np.floor(60 * depth * rng.uniform(0.4, 1.5))) % 2
    canvas[horizon:] *= (1 - rng.uniform(0.08, 0.35) * checks)[..., None]
    step = rng.integers(12, 48)
    columns = (np.arange(width) // step) % 2
    canvas[:horizon] *= (1 - rng.uniform(0.0, 0.2) * columns)[None, :, None]


def _put_object(rng: np.random.Generator, canvas: Array) -> None:
    """A box or an ellipse of one colour, shaded from top to bottom."""
    height, width, _ = canvas.shape
    color = _paint(rng, 32.0)
    center = rng.uniform(0, [width, height])
    half = rng.uniform(0.02, 0.16, 2) * width
    y, x = np.ogrid[:height, :width]
    dx, dy = np.abs(x - center[0]) / half[0], np.abs(y - center[1]) / half[1]
    inside = dx * dx + dy * dy < 1 if rng.random() < 0.4 else (dx < 1) & (dy < 1)
    shade = 1.1 - 0.35 * np.clip((y - center[1]) / half[1] / 2 + 0.5, 0, 1)
    canvas[inside] = (np.broadcast_to(shade, (height, width))[..., None] * color)[inside]


def _clouds(rng: np.random.Generator, width: int, height: int) -> Array:
    """(H, W) smooth noise of unit-like amplitude, from coarse to fine."""
    total = np.zeros((height, width))
    for cells, weight in ((3, 0.5), (8, 0.3), (24, 0.2)):
        coarse = rng.normal(0, 1, (cells + 1, cells + 1))
        fine = zoom(coarse, (height / cells, width / cells), order=1)
        total += weight * fine[:height, :width]
    return total


def cast_shadow(
    canvas: UInt8[np.ndarray, "H W 3"], feet: Float[np.ndarray, "2"], side: float
) -> UInt8[np.ndarray, "H W 3"]:
    """A soft dark ellipse on the ground under the lowest point `feet` (2,) px of a person of `side` px."""
    height, width, _ = canvas.shape
    y, x = np.ogrid[:height, :width]
    distance = ((x - feet[0]) / (0.2 * side)) ** 2 + ((y - feet[1]) / (0.045 * side)) ** 2
    return (canvas * (1 - 0.45 * np.exp(-distance))[..., None]).astype(np.uint8)


def through_a_camera(rng: np.random.Generator, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Focus blur, exposure, vignette and sensor noise."""
    picture = gaussian_filter(image.astype(np.float32), (sigma := abs(rng.normal(0, 0.4)), sigma, 0))
    height, width, _ = image.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    gain = rng.uniform(0.82, 1.15) * (1 - rng.uniform(0, 0.15) * (x * x + y * y))
    picture *= gain[..., None].astype(np.float32)
    picture += rng.normal(0, rng.uniform(1.0, 5.0), picture.shape).astype(np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
