"""Meshes to pictures on the CPU: a z-buffer with 4x4 supersampling, compiled by numba.

Coordinates: vertices in the camera frame in metres (x right, y down, z forward). Integer pixel coordinates are pixel
centres (column i covers x in [i - 0.5, i + 0.5)), as in cv2's warps and as keypoints in pixels are drawn.
The kernel uses no threads, so a process that rendered may be forked (Ray workers, data loaders).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, UInt8
from numpy.typing import NDArray

from pipeline.image.camera import FOCAL
from pipeline.image.person_camera import PersonCamera, principal_point
from pipeline.numerics.numba_cache import compiled
from schemas.camera import Lens

FloatArray = NDArray[np.floating]
UInt8Array = NDArray[np.uint8]

SUBSAMPLES: Final = 4
"""Samples per pixel along each axis, unless fewer are asked for; coverage has their square + 1 levels."""

NEAR_M: Final = 0.05
"""Triangles are clipped at this depth in metres: a point at or behind the eye has no projection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinholeCamera:
    """A camera at the origin looking along +z: (X, Y, Z) m lands at `focal * (X, Y) / Z + (center_x, center_y)` px."""

    focal: float
    center_x: float
    center_y: float
    width: int
    height: int

    @classmethod
    def of_crop(cls, center: Float[np.ndarray, "2"], side: float, width: int, height: int) -> "PinholeCamera":
        """The camera of a square person crop (`center` (2,) and `side` in photo px), drawing on the whole photo.

        Vertices must already carry `cam_t`. f is 5000 px for a 256 px crop, so 5000 / 256 * side px in the photo.
        """
        x, y = (float(value) for value in center)
        return cls(focal=FOCAL * float(side), center_x=x, center_y=y, width=width, height=height)

    @classmethod
    def of_lens(cls, lens: Lens, width: int, height: int) -> "PinholeCamera":
        """The photo's own camera, without its distortion."""
        x, y = (float(value) for value in lens.principal_point)
        return cls(focal=lens.focal_px, center_x=x, center_y=y, width=width, height=height)

    @classmethod
    def of_label(
        cls, camera: PersonCamera, center: Float[np.ndarray, "2"], side: float, width: int, height: int
    ) -> "PinholeCamera":
        """The pinhole of the whole photo that a label's camera implies, for vertices turned by `camera.rotation`.

        Without the lens's distortion. HSMR's camera is turned nowhere, and so gives `of_crop`.
        """
        x, y = principal_point(camera, center, side)
        return cls(focal=camera.focal * float(side), center_x=float(x), center_y=float(y), width=width, height=height)

    def project(self, points: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 2"]:
        """(..., 3) m in front of the camera to (..., 2) px."""
        points = np.asarray(points, np.float64)
        return self.focal * points[..., :2] / points[..., 2:] + np.array([self.center_x, self.center_y])


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One distant lamp: brightness = ambient + diffuse * cos. `direction` (3,) points to the lamp, camera axes."""

    direction: tuple[float, float, float] = (-0.4, -0.7, -0.7)
    ambient: float = 0.42
    diffuse: float = 0.62
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """`image` (H, W, 3) uint8; `depth` (H, W) m, nearest sample, inf where empty; `alpha` (H, W) share covered."""

    image: UInt8[np.ndarray, "H W 3"]
    depth: Float32[np.ndarray, "H W"]
    alpha: Float32[np.ndarray, "H W"]

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """(H, W) True where at least half of the pixel is covered."""
        return self.alpha >= 0.5


def render(
    vertices: Float[np.ndarray, "V 3"],
    faces: Integer[np.ndarray, "F 3"],
    colors: Float[np.ndarray, "*colors 3"] | UInt8[np.ndarray, "*colors 3"] | tuple[float, float, float],
    camera: PinholeCamera,
    *,
    background: UInt8[np.ndarray, "H W 3"] | tuple[int, int, int] = (255, 255, 255),
    light: Light | None = None,
    subsamples: int = SUBSAMPLES,
) -> Rendering:
    """Draw a mesh with smooth shading over `background`; to draw several, `concatenate` them.

    vertices (V, 3) m, camera frame; faces (F, 3); colors in [0, 255]: one (3,), per vertex (V, 3) or per face (F, 3);
    background: one colour or an (H, W, 3) uint8 photo; subsamples: fewer are faster, with rougher edges.
    Raises ValueError when shapes do not fit or a vertex is not finite.
    """
    vertices = np.ascontiguousarray(vertices, np.float64)
    faces = np.ascontiguousarray(faces, np.int64)
    _check_mesh(vertices, faces)
    canvas = _canvas(background, camera)
    corners = vertices[faces]
    shading = _shading(vertices, faces, light or Light())
    corner_rgb = np.clip(_corner_colors(colors, faces, len(vertices)) * shading[faces], 0.0, 255.0)
    x0, y0, x1, y1 = _window(vertices, camera)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    alpha = np.zeros((camera.height, camera.width), np.float32)
    if x1 > x0 and y1 > y0:
        inverse_z = np.zeros(((y1 - y0) * subsamples, (x1 - x0) * subsamples), np.float32)
        samples = np.zeros((*inverse_z.shape, 3), np.float32)
        principal = (camera.center_x - x0, camera.center_y - y0)
        _rasterize(corners, corner_rgb, float(camera.focal), *principal, NEAR_M, subsamples, inverse_z, samples)
        window = (slice(y0, y1), slice(x0, x1))
        _resolve(subsamples, inverse_z, samples, canvas[window], depth[window], alpha[window])
    return Rendering(image=canvas, depth=depth, alpha=alpha)


def concatenate(
    meshes: list[tuple[Float[np.ndarray, "_ 3"], Integer[np.ndarray, "_ 3"]]],
) -> tuple[Float[np.ndarray, "V 3"], Integer[np.ndarray, "F 3"]]:
    """Several (vertices, faces) as one mesh, to be drawn with one depth test."""
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in meshes[:-1]])
    faces = np.concatenate([faces + offset for (_, faces), offset in zip(meshes, offsets, strict=True)])
    return np.concatenate([vertices for vertices, _ in meshes]), faces


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Integer[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """(V, 3) unit normals, area-weighted over the faces around a vertex; zero for a vertex of no face."""
    corners = np.asarray(vertices, np.float64)[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    index = np.asarray(faces).reshape(-1)
    sums = [np.bincount(index, np.repeat(face_normals[:, k], 3), len(vertices)) for k in range(3)]
    normals = np.stack(sums, axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def _check_mesh(vertices: FloatArray, faces: NDArray[np.integer]) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices have shape {vertices.shape}; expected (V, 3) in metres, camera frame")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces have shape {faces.shape}; expected (F, 3) vertex indices")
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"faces name vertices {faces.min()}..{faces.max()}, but there are {len(vertices)} vertices")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{int((~np.isfinite(vertices)).any(1).sum())} of {len(vertices)} vertices are not finite")


def _canvas(background: UInt8Array | tuple[int, int, int], camera: PinholeCamera) -> UInt8Array:
    shape = (camera.height, camera.width, 3)
    if isinstance(background, tuple):
        return np.broadcast_to(np.array(background, np.uint8), shape).copy()
    if background.shape != shape or background.dtype != np.uint8:
        raise ValueError(f"background is {background.dtype} {background.shape}; the camera draws uint8 {shape}")
    return np.array(background, np.uint8, order="C")


def _corner_colors(
    colors: FloatArray | UInt8Array | tuple[float, float, float], faces: NDArray[np.integer], n_vertices: int
) -> NDArray[np.float64]:
    colors = np.asarray(colors, np.float64)
    if colors.shape == (3,):
        return np.broadcast_to(colors, (len(faces), 3, 3))
    if colors.shape == (n_vertices, 3):
        return colors[faces]
    if colors.shape == (len(faces), 3):
        return np.broadcast_to(colors[:, None], (len(faces), 3, 3))
    raise ValueError(
        f"colors have shape {colors.shape}; expected (3,), ({n_vertices}, 3) per vertex or ({len(faces)}, 3) per face"
    )


def _shading(vertices: FloatArray, faces: NDArray[np.integer], light: Light) -> NDArray[np.float64]:
    direction = np.asarray(light.direction, np.float64)
    cosine = vertex_normals(vertices, faces) @ (direction / max(float(np.linalg.norm(direction)), 1e-12))
    return (light.ambient + light.diffuse * np.maximum(cosine, 0.0))[:, None] * np.asarray(light.color)


def _window(vertices: FloatArray, camera: PinholeCamera) -> tuple[int, int, int, int]:
    """Pixel box (x0, y0, x1, y1) that holds the drawing; the whole picture when the mesh crosses the near plane."""
    if len(vertices) == 0 or vertices[:, 2].max() < NEAR_M:
        return 0, 0, 0, 0
    if vertices[:, 2].min() < NEAR_M:
        return 0, 0, camera.width, camera.height
    pixels = camera.project(vertices)
    size = (camera.width, camera.height)
    low = np.clip(np.floor(pixels.min(axis=0) + 0.5), 0, size).astype(int)
    high = np.clip(np.floor(pixels.max(axis=0) + 0.5) + 1, 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


@compiled(nogil=True)
def _rasterize(  # type: ignore[no-untyped-def]
    corners, corner_rgb, focal, center_x, center_y, near, subsamples, inverse_z, samples
):
    """Draw triangles (F, 3, 3) into the sample buffers: 1/z where nearest, and the colour there."""
    polygon = np.empty((4, 6))
    for f in range(corners.shape[0]):
        n = _clip_near(corners[f], corner_rgb[f], near, polygon)
        for k in range(1, n - 1):
            _fill(polygon, k, focal, center_x, center_y, subsamples, inverse_z, samples)


@compiled()
def _clip_near(corners, rgb, near, polygon):  # type: ignore[no-untyped-def]
    """Sutherland-Hodgman against z = near: writes the kept polygon (x, y, z, r, g, b), returns its corner count."""
    n = 0
    for i in range(3):
        j = (i + 1) % 3
        z_i, z_j = corners[i, 2], corners[j, 2]
        if z_i >= near:
            for c in range(3):
                polygon[n, c] = corners[i, c]
                polygon[n, 3 + c] = rgb[i, c]
            n += 1
        if (z_i >= near) != (z_j >= near):
            t = (near - z_i) / (z_j - z_i)
            for c in range(3):
                polygon[n, c] = corners[i, c] + t * (corners[j, c] - corners[i, c])
                polygon[n, 3 + c] = rgb[i, c] + t * (rgb[j, c] - rgb[i, c])
            polygon[n, 2] = near
            n += 1
    return n


@compiled()
def _fill(polygon, k, focal, center_x, center_y, subsamples, inverse_z, samples):  # type: ignore[no-untyped-def]
    """Fill the triangle (0, k, k + 1) of the polygon; perspective-correct colours."""
    # Sample (i, j) lies at pixel coordinate (i + 0.5) / subsamples - 0.5, so work in sample units.
    s = float(subsamples)
    shift = 0.5 * s - 0.5
    w0, w1, w2 = 1.0 / polygon[0, 2], 1.0 / polygon[k, 2], 1.0 / polygon[k + 1, 2]
    x0 = (focal * polygon[0, 0] * w0 + center_x) * s + shift
    y0 = (focal * polygon[0, 1] * w0 + center_y) * s + shift
    x1 = (focal * polygon[k, 0] * w1 + center_x) * s + shift
    y1 = (focal * polygon[k, 1] * w1 + center_y) * s + shift
    x2 = (focal * polygon[k + 1, 0] * w2 + center_x) * s + shift
    y2 = (focal * polygon[k + 1, 1] * w2 + center_y) * s + shift
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0.0:
        return
    rows, columns = inverse_z.shape
    # Clamped as floats first: a corner at the near plane may lie beyond the range of an integer.
    left = int(max(np.ceil(min(x0, x1, x2)), 0.0))
    right = int(min(np.floor(max(x0, x1, x2)), columns - 1.0))
    top = int(max(np.ceil(min(y0, y1, y2)), 0.0))
    bottom = int(min(np.floor(max(y0, y1, y2)), rows - 1.0))
    for j in range(top, bottom + 1):
        for i in range(left, right + 1):
            b1 = ((i - x0) * (y2 - y0) - (x2 - x0) * (j - y0)) / area
            b2 = ((x1 - x0) * (j - y0) - (i - x0) * (y1 - y0)) / area
            b0 = 1.0 - b1 - b2
            if b0 < 0.0 or b1 < 0.0 or b2 < 0.0:
                continue
            w = b0 * w0 + b1 * w1 + b2 * w2
            if w <= inverse_z[j, i]:
                continue
            inverse_z[j, i] = w
            for c in range(3):
                value = b0 * w0 * polygon[0, 3 + c] + b1 * w1 * polygon[k, 3 + c] + b2 * w2 * polygon[k + 1, 3 + c]
                samples[j, i, c] = value / w


@compiled(nogil=True)
def _resolve(subsamples, inverse_z, samples, canvas, depth, alpha):  # type: ignore[no-untyped-def]
    """Average the samples of each pixel over the canvas, which holds the background."""
    n = subsamples * subsamples
    for y in range(canvas.shape[0]):
        for x in range(canvas.shape[1]):
            covered, nearest = 0, 0.0
            red, green, blue = 0.0, 0.0, 0.0
            for j in range(y * subsamples, (y + 1) * subsamples):
                for i in range(x * subsamples, (x + 1) * subsamples):
                    if inverse_z[j, i] > 0.0:
                        covered += 1
                        nearest = max(nearest, inverse_z[j, i])
                        red += samples[j, i, 0]
                        green += samples[j, i, 1]
                        blue += samples[j, i, 2]
            if covered == 0:
                continue
            empty = n - covered
            canvas[y, x, 0] = np.uint8((red + empty * canvas[y, x, 0]) / n + 0.5)
            canvas[y, x, 1] = np.uint8((green + empty * canvas[y, x, 1]) / n + 0.5)
            canvas[y, x, 2] = np.uint8((blue + empty * canvas[y, x, 2]) / n + 0.5)
            alpha[y, x] = covered / n
            depth[y, x] = 1.0 / nearest
