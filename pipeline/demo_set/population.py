"""The people of a demo set: true bodies under true cameras, and SMPL pseudo-labels as a data set has them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from pipeline.body import Skel
from pipeline.demo_set.appearance import BodyMap
from pipeline.demo_set.crop_fit import CropFit, fit_crop_cameras
from pipeline.demo_set.poses import sample_bodies
from pipeline.demo_set.pseudo_labels import PseudoLabels, make_pseudo_labels
from pipeline.demo_set.scene import Figure
from schemas.skel import N_BETAS, N_Q

_BATCH = 64  # 6890 vertices with their pose correctives take about 1 MB a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """True q (N, 46) rad, betas (N, 10); vertices (N, V, 3) and keypoints (N, 44, 3) m, without cam_t."""

    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]
    vertices: Float32[np.ndarray, "N V 3"]
    keypoints: Float32[np.ndarray, "N 44 3"]
    crops: CropFit
    labels: PseudoLabels

    @property
    def cam_t(self) -> Float32[np.ndarray, "N 3"]:
        """(N, 3) m, as the truth file holds it."""
        return self.crops.cam_t.astype(np.float32)

    def figure(self, person: int) -> Figure:
        """The person before its crop camera, exactly as the stored truth says."""
        return Figure(
            vertices=(self.vertices[person] + self.cam_t[person]).astype(np.float64),
            keypoints=(self.keypoints[person] + self.cam_t[person]).astype(np.float64),
            fill=float(self.crops.fill[person]),
            aspect=self.crops.aspect[person],
        )


def make_population(rng: np.random.Generator, skel: Skel, count: int) -> Population:
    """`count` people of the body `skel`."""
    states = sample_bodies(rng, count)
    q, betas = states.q.astype(np.float32), states.betas.astype(np.float32)
    posed = [_pose(skel, q[start : start + _BATCH], betas[start : start + _BATCH]) for start in range(0, count, _BATCH)]
    vertices, keypoints, rotations = (np.concatenate(parts) for parts in zip(*posed, strict=True))
    return Population(
        q=q,
        betas=betas,
        vertices=vertices,
        keypoints=keypoints,
        crops=fit_crop_cameras(rng, vertices.astype(np.float64)),
        labels=make_pseudo_labels(rng, rotations.astype(np.float64), states.betas),
    )


def body_map(skel: Skel) -> BodyMap:
    """The mean body in T-pose, to cut clothes by."""
    rest = skel.forward(_like(skel, np.zeros((1, N_Q))), _like(skel, np.zeros((1, N_BETAS))))
    return BodyMap(vertices=_numpy(rest.skin_vertices)[0].astype(float), joints=_numpy(rest.joints)[0].astype(float))


def _pose(skel: Skel, q: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q_tensor, betas_tensor = _like(skel, q), _like(skel, betas)
    with torch.no_grad():
        body = skel.forward(q_tensor, betas_tensor)
        keypoints = skel.keypoints(q_tensor, betas_tensor)
    return _numpy(body.skin_vertices), _numpy(keypoints), _numpy(body.bone_transforms.rotations)


def _like(skel: Skel, array: NDArray[np.floating]) -> torch.Tensor:
    return torch.as_tensor(array, dtype=skel.dtype, device=skel.device)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
