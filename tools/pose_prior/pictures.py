"""Pictures to look at: converted frames beside their CMU skeleton, and the modes of the built prior.

`python -m tools.pose_prior.pictures --cmu FILE --output DIR` writes conversion.png and modes.png.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.body import Skel, load_skel
from pipeline.fit.prior import PosePrior
from pipeline.render import Panel, PinholeCamera, draw_keypoints, grid, render
from schemas.skel import N_BETAS
from tools.pose_prior.clips import cmu_clips
from tools.pose_prior.cmu_skeleton import CmuSkeleton, read_cmu

_SIDE, _DEPTH, _FOCAL = 256, 5.0, 560.0  # px, m, px
_CAMERA: Final = PinholeCamera(focal=_FOCAL, center_x=_SIDE / 2, center_y=_SIDE / 2, width=_SIDE, height=_SIDE)
_VIEW: Final = np.diag([1.0, -1.0, -1.0]) @ np.array([[0.8, 0.0, -0.6], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]])
_COLOR: Final = (178.0, 204.0, 240.0)


def body_picture(skel: Skel, q: Tensor) -> np.ndarray:
    """The pose (46,), pelvis unturned, from the front and a little to the side."""
    skin = skel(q[None].to(skel.dtype), torch.zeros(1, N_BETAS, dtype=skel.dtype)).skin_vertices[0]
    skin = (skin - skin.mean(0)).double().numpy() @ _VIEW.T + np.array([0, 0, _DEPTH])
    return render(skin, skel.faces.numpy(), _COLOR, _CAMERA).image


def stick_picture(skeleton: CmuSkeleton, frame: Tensor) -> np.ndarray:
    """The CMU skeleton of a frame (117,), seen alike."""
    joints = skeleton.pose(frame[None]).joints[0]
    points = _CAMERA.project((joints - joints.mean(0)).numpy() @ _VIEW.T + np.array([0, 0, _DEPTH]))
    limbs = [(joint, int(parent)) for joint, parent in enumerate(skeleton.parent) if parent >= 0]
    return draw_keypoints(np.full((_SIDE, _SIDE, 3), 255, np.uint8), points, limbs)


def conversion_sheet(cmu: Path, skel: Skel) -> np.ndarray:
    """A frame of every sixth clip, its skeleton above the body."""
    skeleton, motions = read_cmu(cmu)
    sticks, bodies = [], []
    for clip in cmu_clips(cmu, load_skel(dtype=torch.float64))[::6]:
        middle = len(clip.q) // 2
        sticks.append(Panel(image=stick_picture(skeleton, motions[clip.name][middle]), caption=clip.name))
        bodies.append(Panel(image=body_picture(skel, clip.q[middle]), caption="SKEL"))
    half = (len(sticks) + 1) // 2
    return grid([sticks[:half], bodies[:half], sticks[half:], bodies[half:]], height=_SIDE)


def modes_sheet(skel: Skel) -> np.ndarray:
    """One of each mirrored pair, by falling weight."""
    prior = PosePrior.load()
    weight = 2 * prior.log_weight[1::2].exp()
    panels = [
        Panel(image=body_picture(skel, q), caption=f"{index}: {share:.1%}")
        for index, (q, share) in enumerate(zip(prior.modes()[::2], weight.tolist(), strict=True))
    ]
    return grid([panels[row : row + 8] for row in range(0, len(panels), 8)], height=_SIDE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cmu", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    skel = load_skel()
    Image.fromarray(conversion_sheet(arguments.cmu, skel)).save(arguments.output / "conversion.png")
    Image.fromarray(modes_sheet(skel)).save(arguments.output / "modes.png")


if __name__ == "__main__":
    main()
