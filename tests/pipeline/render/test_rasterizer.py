"""The rasteriser against hand-projected points, an independent coverage count and the near plane."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.render import Light, PinholeCamera, concatenate, render, vertex_normals
from tests.shape_checks import shapes_unchecked

FLAT = Light(ambient=1.0, diffuse=0.0)
TRIANGLE = np.array([[0, 1, 2]])


def octahedron(center: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    axes = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return center + radius * axes, np.array(faces)


def centroid_px(alpha: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
    return np.array([(alpha * columns).sum(), (alpha * rows).sum()]) / alpha.sum()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_landmarks_land_where_the_hand_projection_says(seed: int) -> None:
    """A tiny body at a landmark is seen within half a pixel of f X / Z + c, written out here by hand."""
    rng = np.random.default_rng(seed)
    camera = PinholeCamera.of_crop(rng.uniform(100, 150, 2), rng.uniform(150, 300), 256, 240)
    landmark = np.array([*rng.uniform(-0.7, 0.7, 2), rng.uniform(30, 60)])
    vertices, faces = octahedron(landmark, 0.03)
    alpha = render(vertices, faces, (255.0, 0.0, 0.0), camera).alpha
    by_hand = np.array(
        [
            camera.focal * landmark[0] / landmark[2] + camera.center_x,
            camera.focal * landmark[1] / landmark[2] + camera.center_y,
        ]
    )
    assert np.abs(centroid_px(alpha) - by_hand).max() < 0.15


def test_crop_camera_is_the_hsmr_projection() -> None:
    """A point at crop units (u, v) under f = 5000 px per 256 px crop lands at center + side * (u, v)."""
    center, side = np.array([310.0, 205.0]), 180.0
    point = np.array([0.4, -0.3, 41.0])
    crop_units = 5000 / 256 * point[:2] / point[2]
    pixel = PinholeCamera.of_crop(center, side, 640, 480).project(point)
    np.testing.assert_allclose(pixel, center + side * crop_units, atol=1e-9)


def coverage(points: np.ndarray, width: int, height: int, n: int) -> np.ndarray:
    """Share of n x n samples of each pixel inside the triangle `points` (3, 2) px: three half-plane tests."""
    step = (np.arange(n) + 0.5) / n - 0.5
    x = (np.arange(width)[:, None] + step).reshape(-1)[None, :]
    y = (np.arange(height)[:, None] + step).reshape(-1)[:, None]
    sides = []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        edge = points[b] - points[a]
        sides.append(edge[0] * (y - points[a, 1]) - edge[1] * (x - points[a, 0]) >= 0)
    inside = (sides[0] & sides[1] & sides[2]) | ~(sides[0] | sides[1] | sides[2])
    return inside.reshape(height, n, width, n).mean(axis=(1, 3))


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_silhouette_matches_an_independent_coverage_count(seed: int) -> None:
    """Same samples, counted by numpy: equal in every pixel. 16 x 16 samples: the same area up to noise at edges."""
    rng = np.random.default_rng(seed)
    camera = PinholeCamera(focal=60.0, center_x=19.5, center_y=14.5, width=40, height=30)
    vertices = np.column_stack([rng.uniform(-1.2, 1.2, (3, 2)), rng.uniform(2.0, 6.0, 3)])
    alpha = render(vertices, TRIANGLE, (255.0, 0.0, 0.0), camera).alpha
    points = camera.project(vertices)
    np.testing.assert_array_equal(alpha, coverage(points, 40, 30, 4))
    perimeter = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
    assert abs(alpha.sum() - coverage(points, 40, 30, 16).sum()) < 0.05 * perimeter


def test_pixel_centres_are_integers() -> None:
    """A square over pixel coordinates [9.5, 19.5) x [4.5, 9.5) covers columns 10-19 and rows 5-9, each fully."""
    corners = np.array([[9.5, 4.5, 1], [19.5, 4.5, 1], [19.5, 9.5, 1], [9.5, 9.5, 1]], float)
    camera = PinholeCamera(focal=1.0, center_x=0.0, center_y=0.0, width=30, height=20)
    alpha = render(corners, np.array([[0, 1, 2], [0, 2, 3]]), (9.0, 9.0, 9.0), camera).alpha
    expected = np.zeros((20, 30), np.float32)
    expected[5:10, 10:20] = 1
    np.testing.assert_array_equal(alpha, expected)


def test_nearer_mesh_hides_the_farther_whatever_the_order() -> None:
    camera = PinholeCamera(focal=50.0, center_x=20.0, center_y=20.0, width=40, height=40)
    near, far = octahedron(np.array([0.0, 0, 4]), 0.5), octahedron(np.array([0.2, 0, 8]), 1.5)
    colors = {"near": (255.0, 0, 0), "far": (0.0, 0, 255)}
    pictures = []
    for order in (("near", "far"), ("far", "near")):
        meshes = {"near": near, "far": far}
        vertices, faces = concatenate([meshes[name] for name in order])
        per_vertex = np.concatenate([np.tile(colors[name], (6, 1)) for name in order])
        pictures.append(render(vertices, faces, per_vertex, camera, light=FLAT))
    np.testing.assert_array_equal(pictures[0].image, pictures[1].image)
    assert tuple(pictures[0].image[20, 20]) == (255, 0, 0)
    assert pictures[0].depth[20, 20] == pytest.approx(3.5, abs=0.1)
    assert tuple(pictures[0].image[20, 28]) == (0, 0, 255)
    assert np.isinf(pictures[0].depth[0, 0])


def test_triangle_through_the_near_plane_is_clipped() -> None:
    """A floor that runs from behind the eye to 100 m ahead fills exactly the part below its horizon."""
    floor = np.array([[-1000.0, 1, -5], [1000.0, 1, -5], [0.0, 1, 100]])
    camera = PinholeCamera(focal=50.0, center_x=31.5, center_y=31.5, width=64, height=64)
    drawn = render(floor, TRIANGLE, (0.0, 255.0, 0.0), camera, light=FLAT)
    horizon = 50.0 * 1 / 100 + 31.5
    assert drawn.alpha[: int(horizon)].sum() == 0
    assert (drawn.alpha[34:, :][:, 24:40] == 1).all()
    # Row y sees the floor at depth f * 1 / (y - cy).
    assert drawn.depth[60, 31] == pytest.approx(50.0 / (60 - 31.5), rel=0.02)


def test_mesh_behind_the_camera_draws_nothing() -> None:
    vertices, faces = octahedron(np.array([0.0, 0, -4]), 0.5)
    camera = PinholeCamera(focal=50.0, center_x=20.0, center_y=20.0, width=40, height=40)
    drawn = render(vertices, faces, (255.0, 0, 0), camera, background=(7, 8, 9))
    assert not drawn.mask.any()
    assert (drawn.image == np.array([7, 8, 9], np.uint8)).all()


def test_mesh_partly_outside_the_picture_is_cut_at_its_border() -> None:
    vertices, faces = octahedron(np.array([0.0, 0, 4]), 3.0)
    camera = PinholeCamera(focal=50.0, center_x=0.0, center_y=20.0, width=40, height=40)
    assert render(vertices, faces, (255.0, 0, 0), camera).alpha[20, 0] == 1


def test_interpolation_is_perspective_correct() -> None:
    """Halfway on the screen between depths 1 and 3 lies a quarter of the way in space."""
    quad = np.array([[-1.0, -1, 1], [-1, 1, 1], [3, 3, 3], [3, -3, 3]])
    colors = np.array([[0.0] * 3, [0.0] * 3, [200.0] * 3, [200.0] * 3])
    camera = PinholeCamera(focal=100.0, center_x=100.0, center_y=100.0, width=201, height=201)
    drawn = render(quad, np.array([[0, 1, 2], [0, 2, 3]]), colors, camera, light=FLAT)
    assert int(drawn.image[100, 100, 0]) == pytest.approx(50, abs=2)
    assert drawn.depth[100, 100] == pytest.approx(1.5, rel=0.02)


def test_per_face_colors_stay_flat_and_light_falls_from_its_side() -> None:
    vertices, faces = octahedron(np.array([0.0, 0, 4]), 1.0)
    camera = PinholeCamera(focal=60.0, center_x=31.5, center_y=31.5, width=64, height=64)
    colors = np.tile([[200.0, 100.0, 50.0]], (8, 1))
    lit = render(vertices, faces, colors, camera, light=Light(direction=(0, -1, 0), ambient=0.2, diffuse=0.8))
    assert lit.image[25, 31, 0] > lit.image[38, 31, 0] + 30
    flat = render(vertices, faces, colors, camera, light=FLAT)
    assert tuple(flat.image[31, 31]) == (200, 100, 50)


def test_normals_of_a_closed_surface_point_outwards() -> None:
    vertices, faces = octahedron(np.zeros(3), 2.0)
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("vertices", "faces", "colors", "message"),
    [
        (np.zeros((3, 2)), TRIANGLE, (1.0, 1.0, 1.0), "expected \\(V, 3\\)"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), (1.0, 1.0, 1.0), "there are 3 vertices"),
        (np.full((3, 3), np.nan), TRIANGLE, (1.0, 1.0, 1.0), "3 of 3 vertices are not finite"),
        (np.ones((3, 3)), TRIANGLE, np.zeros((5, 3)), "colors have shape"),
    ],
)
def test_unfit_input_is_refused_by_name(vertices, faces, colors, message: str) -> None:
    camera = PinholeCamera(focal=5.0, center_x=2.0, center_y=2.0, width=4, height=4)
    with shapes_unchecked(), pytest.raises(ValueError, match=message):
        render(vertices, faces, colors, camera)


def test_a_forked_child_may_render_after_its_parent_did() -> None:
    """Ray workers and data loaders fork; the picture is the same there."""
    vertices, faces = octahedron(np.array([0.0, 0, 4]), 1.0)
    camera = PinholeCamera(focal=60.0, center_x=31.5, center_y=31.5, width=64, height=64)
    here = render(vertices, faces, (200.0, 100.0, 50.0), camera).image
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        there = pool.submit(render, vertices, faces, (200.0, 100.0, 50.0), camera).result(timeout=60)
    np.testing.assert_array_equal(there.image, here)


def test_background_of_another_size_is_refused() -> None:
    camera = PinholeCamera(focal=5.0, center_x=2.0, center_y=2.0, width=4, height=4)
    with pytest.raises(ValueError, match="the camera draws uint8"):
        render(np.ones((3, 3)), TRIANGLE, (1.0, 1.0, 1.0), camera, background=np.zeros((5, 4, 3), np.uint8))
