"""The people of a demo set: true bodies before true cameras, and SMPL pseudo-labels as a data set has them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from pipeline.body import Skel
from pipeline.body.representation import matrix_to_orientation
from pipeline.demo_set.appearance import BodyMap
from pipeline.demo_set.photo_cameras import PhotoCamera, sample_cameras
from pipeline.demo_set.placement import Place, place_people
from pipeline.demo_set.poses import LEVEL, sample_bodies
from pipeline.demo_set.pseudo_labels import PseudoLabels, make_pseudo_labels
from pipeline.demo_set.scene import Figure
from schemas.skel import N_BETAS, N_Q

_BATCH = 64  # 6890 vertices with their pose correctives take about 1 MB a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """True q (N, 46) rad, betas (N, 10), cam_t (N, 3) m, each in the axes of the person's own crop camera, with
    vertices (N, V, 3) and keypoints (N, 44, 3) m without cam_t; where each stands; the SMPL labels, fitted in the crop.
    """

    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]
    cam_t: Float32[np.ndarray, "N 3"]
    vertices: Float32[np.ndarray, "N V 3"]
    keypoints: Float32[np.ndarray, "N 44 3"]
    places: list[Place]
    labels: PseudoLabels

    def figure(self, person: int) -> Figure:
        """The person before the photo's camera, exactly as the stored truth says."""
        place, moved = self.places[person], self.cam_t[person].astype(np.float64)
        return Figure(
            vertices=(self.vertices[person] + moved) @ place.camera.rotation.T,
            keypoints=(self.keypoints[person] + moved) @ place.camera.rotation.T,
            place=place,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posed:
    """Bodies in some axes: vertices (N, V, 3), keypoints (N, 44, 3), pelvis (N, 3) m; bone rotations (N, 24, 3, 3)."""

    vertices: Float32[np.ndarray, "N V 3"]
    keypoints: Float32[np.ndarray, "N 44 3"]
    pelvis: Float32[np.ndarray, "N 3"]
    rotations: Float32[np.ndarray, "N 24 3 3"]


def make_population(
    rng: np.random.Generator, skel: Skel, photos: list[list[int]]
) -> tuple[Population, list[PhotoCamera]]:
    """The people of the body `skel`, numbered from 0, who are on these photos, and the photos' cameras."""
    count = sum(len(people) for people in photos)
    states = sample_bodies(rng, count, LEVEL)
    betas = states.betas.astype(np.float32)
    level = _pose(skel, states.q.astype(np.float32), betas)
    cameras = sample_cameras(rng, [len(people) for people in photos])
    places, turns = _placed(rng, level, photos, cameras)
    rotations = turns[:, None] @ level.rotations
    q = states.q.copy()
    q[:, :3] = matrix_to_orientation(torch.as_tensor(rotations[:, 0])).numpy()
    population = Population(
        q=q.astype(np.float32),
        betas=betas,
        cam_t=np.array([p.pelvis @ p.camera.rotation for p in places], np.float32) - level.pelvis,
        vertices=_turned(level.vertices, level.pelvis, turns),
        keypoints=_turned(level.keypoints, level.pelvis, turns),
        places=places,
        labels=make_pseudo_labels(rng, rotations, states.betas),
    )
    return population, cameras


def body_map(skel: Skel) -> BodyMap:
    """The mean body in T-pose, to cut clothes by."""
    rest = skel.forward(_like(skel, np.zeros((1, N_Q))), _like(skel, np.zeros((1, N_BETAS))))
    return BodyMap(vertices=_numpy(rest.skin_vertices)[0].astype(float), joints=_numpy(rest.joints)[0].astype(float))


def _placed(
    rng: np.random.Generator, level: _Posed, photos: list[list[int]], cameras: list[PhotoCamera]
) -> tuple[list[Place], Float[np.ndarray, "N 3 3"]]:
    """Each person's place, and the turn (N, 3, 3) from the axes of the level camera to those of their crop camera."""
    places: dict[int, Place] = {}
    turns = np.zeros((len(level.pelvis), 3, 3))
    for people, camera in zip(photos, cameras, strict=True):
        bodies = [level.vertices[person].astype(np.float64) - level.pelvis[person] for person in people]
        for person, place in zip(people, place_people(rng, camera, bodies), strict=True):
            places[person], turns[person] = place, place.camera.rotation.T @ camera.from_level
    return [places[person] for person in range(len(places))], turns


def _turned(
    points: Float32[np.ndarray, "N K 3"], pelvis: Float32[np.ndarray, "N 3"], turns: Float[np.ndarray, "N 3 3"]
) -> Float32[np.ndarray, "N K 3"]:
    """Points of bodies that turn about their pelvis, as the model turns them."""
    moved = np.empty_like(points)
    for person, turn in enumerate(turns):  # in float64, which all people at once would take too much memory for
        moved[person] = (points[person] - pelvis[person].astype(np.float64)) @ turn.T + pelvis[person]
    return moved


def _pose(skel: Skel, q: NDArray[np.float32], betas: NDArray[np.float32]) -> _Posed:
    """Posed a batch after the other."""
    parts = [
        _pose_batch(skel, q[start : start + _BATCH], betas[start : start + _BATCH])
        for start in range(0, len(q), _BATCH)
    ]
    vertices, keypoints, pelvis, rotations = (np.concatenate(values) for values in zip(*parts, strict=True))
    return _Posed(vertices=vertices, keypoints=keypoints, pelvis=pelvis, rotations=rotations)


def _pose_batch(skel: Skel, q: NDArray[np.float32], betas: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    q_tensor, betas_tensor = _like(skel, q), _like(skel, betas)
    with torch.no_grad():
        body = skel.forward(q_tensor, betas_tensor)
        keypoints = skel.keypoints(q_tensor, betas_tensor)
    found = (body.skin_vertices, keypoints, body.joints[:, 0], body.bone_transforms.rotations)
    return tuple(_numpy(tensor) for tensor in found)


def _like(skel: Skel, array: NDArray[np.floating]) -> torch.Tensor:
    return torch.as_tensor(array, dtype=skel.dtype, device=skel.device)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
