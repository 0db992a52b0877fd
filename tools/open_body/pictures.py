"""Pictures of the open body for docs/open_body.md: `python -m tools.open_body.pictures`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from pipeline.body import Skel, load_skel
from pipeline.render.rasterizer import PinholeCamera, render
from schemas.skel import N_BETAS, N_Q, Q_NAMES

SKIN, BONE = (224.0, 172.0, 150.0), (228.0, 222.0, 200.0)
DISTANCE, HEIGHT_IN_VIEW = 12.0, 2.35  # m
LEFT_OPPOSITE = ("scapula_abduction", "scapula_elevation", "shoulder_x", "shoulder_y")

POSES: dict[str, dict[str, float]] = {
    "arms down": {"shoulder_x": 1.35},
    "overhead": {"shoulder_x": -1.45, "scapula_upward_rot": 0.2},
    "reaching": {"shoulder_x": 1.45, "shoulder_z": 1.5},
    "hands to the head": {"shoulder_x": -0.4, "shoulder_y": 0.6, "shoulder_z": 1.2, "elbow_flexion": 2.3,
                          "scapula_upward_rot": 0.2},
    "squat": {"hip_flexion": 2.1, "knee_angle": 2.2, "ankle_angle": 0.5, "lumbar_extension": -0.4, "shoulder_x": 1.3,
              "shoulder_z": 1.2},
    "sitting": {"hip_flexion": 1.5, "knee_angle": 1.5, "shoulder_x": 1.35, "shoulder_z": 0.5, "elbow_flexion": 0.6},
    "kneeling": {"knee_angle": 2.2, "hip_flexion": 0.1, "shoulder_x": 1.35, "elbow_flexion": 1.2},
    "kick": {"hip_flexion_r": 1.7, "knee_angle_r": 0.1, "knee_angle_l": 0.2, "hip_flexion_l": 0.1, "shoulder_x": 0.9,
             "elbow_flexion": 0.8, "lumbar_extension": 0.2},
    "bow": {"lumbar_extension": -0.75, "thorax_extension": -0.75, "head_extension": -0.4, "hip_flexion": 0.7,
            "shoulder_x": 1.2, "pelvis_tilt": -0.6},
    "back bend": {"lumbar_extension": 0.6, "thorax_extension": 0.7, "head_extension": 0.5, "shoulder_x": -0.9},
    "side bend": {"lumbar_bending": 0.5, "thorax_bending": 0.7, "head_bending": 0.3, "shoulder_r_x": 1.3,
                  "shoulder_l_x": 1.4},
    "twist": {"lumbar_twist": 0.7, "thorax_twist": 0.7, "head_twist": 0.6, "shoulder_x": 0.6, "elbow_flexion": 1.0},
    "straddle": {"hip_adduction": -0.78, "hip_flexion": 0.3, "shoulder_x": 0.3},
    "lunge": {"hip_flexion_r": 1.5, "knee_angle_r": 1.6, "hip_flexion_l": -0.6, "knee_angle_l": 0.7,
              "mtp_angle_l": -0.7, "shoulder_x": 1.1, "elbow_flexion": 1.4},
    "crawling": {"pelvis_tilt": -1.5, "hip_flexion": 1.5, "knee_angle": 1.5, "shoulder_x": 1.45, "shoulder_z": 1.5,
                 "head_extension": 0.7},
    "folded arms": {"shoulder_x": 1.3, "shoulder_z": 0.5, "shoulder_y": 0.6, "elbow_flexion": 1.9, "pro_sup": 0.5},
}  # fmt: skip


def pose_q(angles: dict[str, float]) -> np.ndarray:
    """q (46,) rad from named angles; a name without side sets both sides to mirror images."""
    q = np.zeros(N_Q)
    for name, angle in angles.items():
        if name in Q_NAMES:
            q[Q_NAMES.index(name)] = angle
            continue
        for side, sign in (("r", 1.0), ("l", -1.0 if name in LEFT_OPPOSITE else 1.0)):
            full = name.replace("shoulder_", f"shoulder_{side}_") if "shoulder" in name else f"{name}_{side}"
            q[Q_NAMES.index(full)] = sign * angle
    return q


def picture(
    vertices: np.ndarray, faces: np.ndarray, size: tuple[int, int], yaw: float, color: tuple[float, float, float]
) -> np.ndarray:
    """Image (H, W, 3) of a body (V, 3) m in S-axes seen from the front, turned by `yaw` degrees, feet on one line."""
    width, height = size
    seen = vertices @ Rotation.from_euler("y", yaw, degrees=True).as_matrix().T
    middle = np.array([0.5 * (seen[:, 0].min() + seen[:, 0].max()), seen[:, 1].min() + 0.455 * HEIGHT_IN_VIEW, 0])
    camera_frame = (seen - middle) * [1, -1, -1] + [0, 0, DISTANCE]
    focal = height * DISTANCE / HEIGHT_IN_VIEW
    camera = PinholeCamera(focal=focal, center_x=width / 2, center_y=height / 2, width=width, height=height)
    return render(camera_frame, faces, color, camera).image


def save_grid(path: Path, rows: Sequence[Sequence[np.ndarray]]) -> None:
    """Write equally sized images as one compact PNG."""
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    Image.fromarray(sheet).quantize(96).save(path, optimize=True)


def tpose_sheet(body: Skel, path: Path) -> None:
    """Skin and skeleton of the mean person from the front and from the side."""
    out = body(torch.zeros(1, N_Q), torch.zeros(1, N_BETAS), with_skeleton=True)
    if out.skeleton_vertices is None:
        raise ValueError("the body was posed without its skeleton")
    skin, bones = out.skin_vertices[0].numpy(), out.skeleton_vertices[0].numpy()
    row = []
    for vertices, faces, color in ((skin, body.faces, SKIN), (bones, body.skeleton_faces, BONE)):
        row += [
            picture(vertices, faces.numpy(), size, yaw, color) for size, yaw in (((480, 520), 0), ((220, 520), -70))
        ]
    save_grid(path, [row])


def shape_sheet(body: Skel, path: Path) -> None:
    """One column per shape component: beta = -3 above, +3 below."""
    arms_down = torch.as_tensor(pose_q(POSES["arms down"]), dtype=torch.float32)
    rows = []
    for value in (-3.0, 3.0):
        betas = value * torch.eye(N_BETAS)
        skins = body(arms_down.expand(N_BETAS, -1), betas).skin_vertices
        rows.append([picture(skin.numpy(), body.faces.numpy(), (170, 330), 15, SKIN) for skin in skins])
    save_grid(path, rows)


def pose_sheet(body: Skel, path: Path) -> None:
    """Extreme poses, each from two sides."""
    q = torch.as_tensor(np.stack([pose_q(angles) for angles in POSES.values()]), dtype=torch.float32)
    skins = body(q, torch.zeros(len(q), N_BETAS)).skin_vertices.numpy()
    views = [[picture(s, body.faces.numpy(), (215, 270), yaw, SKIN) for yaw in (25, -65)] for s in skins]
    flat = [view for pair in views for view in pair]
    save_grid(path, [flat[k : k + 8] for k in range(0, len(flat), 8)])


def main() -> None:
    """Write the three sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    body = load_skel()
    tpose_sheet(body, folder / "open_body_tpose.png")
    shape_sheet(body, folder / "open_body_shapes.png")
    pose_sheet(body, folder / "open_body_poses.png")


if __name__ == "__main__":
    main()
