"""The built file of the open body: closed symmetric surface, landmarks, shape variety, regressors."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial import ConvexHull

from pipeline.body import load_skel, load_smpl
from pipeline.body.representation import mirror_q
from schemas.skel import JOINT_NAMES, N_BETAS, N_Q, N_UNLIMITED, Q_NAMES, mirror_table, q_limits
from tests.repository import ROOT
from tools.open_body.pictures import POSES, pose_q

FILE = ROOT / "pipeline" / "body" / "open_body" / "open_body.npz"
FLIP = np.array([-1.0, 1.0, 1.0])
REGRESSORS = ("J_regressor", "J_regressor_osim", "J_regressor_SKEL_mix", "SMPL_to_J19")
LANDMARKS = {  # index: (x, y, z) about which it must lie, m
    332: (0.0, 0.41, 0.16), 2800: (0.03, 0.45, 0.14), 6260: (-0.03, 0.45, 0.14), 583: (0.085, 0.44, 0.03),
    4071: (-0.085, 0.44, 0.03), 410: (0.0, 0.5, 0.14), 384: (0.0, 0.44, -0.04), 414: (0.0, 0.565, 0.05),
    196: (0.07, 0.5, 0.04), 3708: (-0.07, 0.5, 0.04), 3216: (0.12, -1.15, 0.21), 6617: (-0.12, -1.15, 0.21),
    3226: (0.19, -1.15, 0.17), 6624: (-0.19, -1.15, 0.17), 3387: (0.15, -1.14, -0.05), 6787: (-0.15, -1.14, -0.05),
    2746: (0.8, 0.19, 0.1), 2319: (0.88, 0.23, 0.06), 2445: (0.89, 0.24, 0.01), 2556: (0.87, 0.24, -0.02),
    2673: (0.84, 0.23, -0.04), 6191: (-0.8, 0.19, 0.1), 5782: (-0.88, 0.23, 0.06), 5905: (-0.89, 0.24, 0.01),
    6016: (-0.87, 0.24, -0.02), 6133: (-0.84, 0.23, -0.04), 3027: (0.0, 0.18, -0.06), 3495: (0.0, 0.18, 0.11),
    3506: (0.0, 0.12, 0.13), 6179: (-0.75, 0.22, 0.03), 6137: (-0.75, 0.26, 0.03), 5670: (-0.69, 0.27, 0.02),
    5906: (-0.875, 0.24, 0.01),
}  # fmt: skip


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(FILE, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def template(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays["skin_template_v"].astype(np.float64)


def matrix(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    entries = (arrays[f"{name}_data"].astype(np.float64), (arrays[f"{name}_row"], arrays[f"{name}_col"]))
    return sparse.coo_array(entries, shape=tuple(arrays[f"{name}_shape"])).toarray()


def shaped(arrays: dict[str, np.ndarray], betas: np.ndarray) -> np.ndarray:
    """(B, 6890, 3) m for betas (B, 10)."""
    return arrays["skin_template_v"] + np.einsum("vcs,bs->bvc", arrays["shapedirs"].astype(np.float64), betas)


def test_file_is_small_and_holds_no_pickle(arrays: dict[str, np.ndarray]) -> None:
    assert FILE.stat().st_size <= 8e6
    assert {a.dtype.kind for a in arrays.values()} <= {"f", "i", "U"}
    assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")


def test_skin_is_one_closed_surface(arrays: dict[str, np.ndarray], template: np.ndarray) -> None:
    faces = arrays["skin_template_f"]
    assert template.shape == (6890, 3)
    assert faces.shape == (13776, 3)
    directed = Counter((int(a), int(b)) for f in faces for a, b in zip(f, np.roll(f, -1), strict=True))
    assert set(directed.values()) == {1}  # consistent winding
    assert all((b, a) in directed for a, b in directed)  # every edge has a face on both sides
    assert len(template) - len(directed) // 2 + len(faces) == 2
    edges = np.array(list(directed))
    links = sparse.coo_array((np.ones(len(edges)), edges.T), (6890, 6890))
    assert sparse.csgraph.connected_components(links)[0] == 1
    corners = template[faces]
    assert np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).min() > 1e-8
    assert (
        0.055 < np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6 < 0.085
    )  # m^3, outward


def test_tpose_follows_smpl_axes(arrays: dict[str, np.ndarray], template: np.ndarray) -> None:
    joints = matrix(arrays, "J_regressor_osim") @ template
    named = dict(zip(JOINT_NAMES, joints, strict=True))
    assert 1.6 < np.ptp(template[:, 1]) < 1.85
    assert -1.2 < template[:, 1].min() < -1.1
    assert named["humerus_l"][0] > 0.1 > -0.1 > named["humerus_r"][0]
    arm = np.stack([named[f"{n}_l"] for n in ("humerus", "ulna", "hand")])
    assert np.ptp(arm[:, 1:], axis=0).max() < 0.01  # arms along x
    assert abs(named["talus_l"][0] - named["femur_l"][0]) < 0.08  # legs almost parallel
    assert template[3216, 2] > named["talus_l"][2] + 0.1  # toes point forward


@pytest.mark.parametrize(("index", "place"), LANDMARKS.items())
def test_landmarks_have_their_official_indices(template: np.ndarray, index: int, place: tuple[float, ...]) -> None:
    assert np.linalg.norm(template[index] - place) < 0.025


def test_skeleton_scale_ratios_are_well_posed(template: np.ndarray) -> None:
    for i, k, d in ((410, 384, 2), (414, 384, 1), (196, 3708, 0), (6179, 6137, 1), (5670, 5906, 0), (3027, 3495, 2),
                    (3027, 3506, 2)):  # fmt: skip
        assert abs(template[i, d] - template[k, d]) > 0.02


def test_shape_space_is_exactly_symmetric(arrays: dict[str, np.ndarray], template: np.ndarray) -> None:
    mirror = arrays["vertex_mirror"]
    assert np.array_equal(mirror[mirror], np.arange(6890))
    assert np.array_equal(template[mirror] * FLIP, template)
    assert np.array_equal(arrays["shapedirs"][mirror] * FLIP[:, None], arrays["shapedirs"])
    assert {frozenset(f) for f in arrays["skin_template_f"]} == {
        frozenset(mirror[f]) for f in arrays["skin_template_f"]
    }


def test_mirrored_q_mirrors_the_mesh(arrays: dict[str, np.ndarray]) -> None:
    body = load_skel(dtype=torch.float64)
    rng = np.random.default_rng(3)
    low, high = q_limits()
    source, sign = mirror_table()
    ends = np.sort(np.stack([sign * low[source], sign * high[source]]), axis=0)
    low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])  # limits common to both sides
    low, high = np.minimum(low, high), np.maximum(low, high)  # scapula elevation has none: mirrored all the same
    low[:N_UNLIMITED], high[:N_UNLIMITED] = -3.0, 3.0
    q, betas = torch.as_tensor(rng.uniform(low, high, (24, N_Q))), torch.as_tensor(rng.standard_normal((24, N_BETAS)))
    skin = body(q, betas).skin_vertices.numpy()[:, arrays["vertex_mirror"]] * FLIP
    assert np.abs(body(mirror_q(q), betas).skin_vertices.numpy() - skin).max() < 1e-5  # m


def test_pictured_poses_are_within_limits() -> None:
    low, high = q_limits()
    checked = [k for k, name in enumerate(Q_NAMES) if "scapula_elevation" not in name]  # its range excludes the T-pose
    for name, angles in POSES.items():
        q = pose_q(angles)
        assert ((low <= q) & (q <= high))[checked].all(), name


def hand_and_head(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left hand, head and left shoulder joints (3,) m in a pictured pose."""
    q = torch.as_tensor(pose_q(POSES[name]), dtype=torch.float32)[None]
    joints = load_skel()(q, torch.zeros(1, N_BETAS)).joints[0].numpy()
    return tuple(joints[JOINT_NAMES.index(n)] for n in ("hand_l", "head", "humerus_l"))


def test_arms_reach_where_people_reach() -> None:
    hand, _, shoulder = hand_and_head("arms down")
    assert hand[1] < shoulder[1] - 0.45
    hand, head, _ = hand_and_head("overhead")
    assert hand[1] > head[1] + 0.2
    hand, _, shoulder = hand_and_head("reaching")
    assert hand[2] > shoulder[2] + 0.4
    hand, head, _ = hand_and_head("hands to the head")
    assert np.linalg.norm(hand - head) < 0.25


def test_smpl_and_skel_share_the_tpose(arrays: dict[str, np.ndarray]) -> None:
    betas = torch.as_tensor(np.random.default_rng(1).standard_normal((3, N_BETAS)))
    skel = load_skel(dtype=torch.float64)(torch.zeros(3, N_Q, dtype=torch.float64), betas).skin_vertices
    smpl = load_smpl(dtype=torch.float64)(torch.zeros(3, 24, 3, dtype=torch.float64), betas).vertices
    np.testing.assert_allclose(skel.numpy(), smpl.numpy(), atol=1e-6)
    np.testing.assert_allclose(skel.numpy(), shaped(arrays, betas.numpy()), atol=1e-6)


@pytest.mark.parametrize("name", ["skin_weights", "smpl_weights", "skel_weights", "skel_weights_rigid"])
def test_skin_weights_are_partitions_of_one(arrays: dict[str, np.ndarray], name: str) -> None:
    weights = matrix(arrays, name)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor_rows_are_averages(arrays: dict[str, np.ndarray], name: str) -> None:
    rows = matrix(arrays, name)
    assert rows.min() >= 0
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_regressors_hold_over_the_shape_space(arrays: dict[str, np.ndarray]) -> None:
    betas = np.random.default_rng(0).standard_normal((200, N_BETAS)).clip(-3, 3)
    rows = np.concatenate([matrix(arrays, "J_regressor"), matrix(arrays, "J_regressor_osim")])
    found = np.einsum("jv,bvc->bjc", rows, shaped(arrays, betas))
    centres = arrays["joint_centres"] + np.einsum("jcs,bs->bjc", arrays["joint_centre_dirs"], betas)
    error = np.linalg.norm(found - centres[:, :48], axis=-1)
    assert error.mean() < 0.002
    assert error.mean(0).max() < 0.004
    assert error.max() < 0.015


def test_regressed_joints_stay_on_the_bones_in_any_pose(arrays: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(5)
    pose, betas = rng.standard_normal((16, 24, 3)) * 0.4, rng.standard_normal((16, N_BETAS))
    out = load_smpl(dtype=torch.float64)(torch.as_tensor(pose), torch.as_tensor(betas))
    found = matrix(arrays, "J_regressor_SKEL_mix") @ out.vertices.numpy()
    error = np.linalg.norm(found - out.joints.numpy(), axis=-1)
    assert error.mean() < 0.004
    assert error.mean(0).max() < 0.010


def measures(arrays: dict[str, np.ndarray], vertices: np.ndarray) -> dict[str, float]:
    """Body measures in m of a T-posed mesh (6890, 3); places follow the template so that they stay on the same skin."""
    base, weights = arrays["skin_template_v"], matrix(arrays, "smpl_weights")
    joints = dict(zip(JOINT_NAMES, matrix(arrays, "J_regressor_osim") @ vertices, strict=True))

    def girth(height: float, parts: list[int]) -> float:
        ring = (np.abs(base[:, 1] - height) < 0.02) & (weights[:, parts].sum(1) > 0.5)
        return float(ConvexHull(vertices[ring][:, [0, 2]]).area)

    return {
        "stature": float(np.ptp(vertices[:, 1])),
        "waist": girth(-0.07, [0, 3, 6]),
        "chest": girth(0.16, [3, 6, 9]),
        "thigh": girth(-0.4, [1]),
        "leg": float(joints["femur_l"][1] - joints["talus_l"][1]),
        "arm": float(joints["hand_l"][0] - joints["humerus_l"][0]),
        "shoulders": float(2 * joints["humerus_l"][0]),
        "head": float(vertices[196, 0] - vertices[3708, 0]),
    }


def test_shape_components_are_different_people(arrays: dict[str, np.ndarray], template: np.ndarray) -> None:
    directions = arrays["shapedirs"].astype(np.float64).reshape(-1, N_BETAS)
    unit = directions / np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(unit.T @ unit, np.eye(N_BETAS), atol=1e-3)
    assert np.linalg.norm(directions, axis=0).min() / np.sqrt(6890) > 0.0015  # m per std
    mean = measures(arrays, template)
    change = {}
    for k, name in enumerate(arrays["shape_names"]):
        tall = measures(arrays, shaped(arrays, 3 * np.eye(N_BETAS)[k : k + 1])[0])
        change[str(name)] = {m: tall[m] / mean[m] - 1 for m in mean}
    assert change["stature"]["stature"] > 0.1
    assert change["weight"]["waist"] > 0.2
    assert change["weight"]["thigh"] > 0.2
    assert abs(change["weight"]["stature"]) < 0.02
    assert change["leg_length"]["leg"] / (1 + change["leg_length"]["stature"]) > 0.05
    assert change["arm_length"]["arm"] > 0.08
    assert abs(change["sex"]["waist"]) < abs(change["weight"]["waist"])
    assert change["shoulder_width"]["shoulders"] > 0.04
    assert change["belly"]["waist"] > 0.08
    assert abs(change["belly"]["thigh"]) < 0.05
    assert change["extremities"]["head"] > 0.03


@pytest.mark.parametrize("value", [-3.0, 3.0])
def test_extreme_shapes_stay_sane(arrays: dict[str, np.ndarray], value: float) -> None:
    faces = arrays["skin_template_f"]
    for vertices in shaped(arrays, value * np.eye(N_BETAS)):
        corners = vertices[faces]
        volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert 0.03 < volume < 0.14  # m^3
        assert 1.4 < np.ptp(vertices[:, 1]) < 2.1
