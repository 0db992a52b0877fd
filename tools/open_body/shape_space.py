"""Linear shape space: least-squares response of T-posed meshes and joint centres to ten standard-normal traits.

Each component is one trait of the population, made orthogonal to those before it ("sex at equal stature"), so that
betas are in standard deviations, keep a meaning, and can be told apart when a mesh is fitted.
"""

from dataclasses import dataclass

import numpy as np

from tools.open_body.anatomy import (
    EXTRA_NAMES,
    SKEL_NAMES,
    SMPL_NAMES,
    extra_joints,
    left_joints,
    reach_of,
    skel_joints,
    smpl_joints,
)
from tools.open_body.closure import carry_pupils
from tools.open_body.landmarks import Numbering
from tools.open_body.population import TRAITS, Population
from tools.open_body.tpose import MIRROR, TPoser

CENTRE_NAMES = (*SMPL_NAMES, *SKEL_NAMES, *EXTRA_NAMES)
GRID = 2.0**-20  # m; positions are rounded to it so that float32 holds them exactly and rebuilds agree


@dataclass(frozen=True)
class ShapeSpace:
    """Positions linear in betas (10,): template + directions @ betas, m."""

    template: np.ndarray  # (6890, 3)
    directions: np.ndarray  # (6890, 3, 10)
    centres: np.ndarray  # (55, 3) SMPL joints, SKEL joints, extra keypoints
    centre_directions: np.ndarray  # (55, 3, 10)


@dataclass(frozen=True)
class People:
    """Meshes (P, 6890, 3) and joint centres (P, 55, 3) of sampled persons with their traits (P, 10)."""

    traits: np.ndarray
    vertices: np.ndarray
    centres: np.ndarray


def make_people(
    population: Population, poser: TPoser, numbering: Numbering, chin: int, crown: int, traits: np.ndarray
) -> People:
    """T-posed body and joint centres of every person; chin and crown are base-mesh vertices."""
    vertices = np.empty((len(traits), len(numbering.base_ids), 3))
    centres = np.empty((len(traits), len(CENTRE_NAMES), 3))
    for k, person in enumerate(traits):
        posed, heads = poser.pose(population.vertices(person))
        bones = dict(zip(poser.rig.names, heads, strict=True))
        shared = left_joints(bones | {"chin": posed[chin], "crown": posed[crown]})
        centres[k] = np.concatenate([smpl_joints(shared), skel_joints(shared), extra_joints(shared)])
        vertices[k] = carry_pupils(posed, poser.mesh)[numbering.base_ids]
    return People(traits, vertices, centres)


def fit_shape_space(people: People, mirror: np.ndarray) -> ShapeSpace:
    """Least-squares template and directions, exactly left-right symmetric and on the grid."""
    design = np.concatenate([np.ones((len(people.traits), 1)), people.traits], axis=1)
    flat = np.concatenate([people.vertices, people.centres], axis=1).reshape(len(design), -1)
    solution = np.linalg.lstsq(design, flat, rcond=None)[0].reshape(1 + len(TRAITS), -1, 3)
    body, centres = solution[:, : len(mirror)], _on_grid(solution[0, len(mirror) :])
    body[1:] = _orthogonal(body[1:])
    body = _on_grid(0.5 * (body + body[:, mirror] * MIRROR))
    template, directions = body[0], np.moveaxis(body[1:], 0, -1)
    placed = zip(CENTRE_NAMES, centres, strict=True)
    moves = np.stack([_carried(centre, reach_of(name), template, directions) for name, centre in placed])
    return ShapeSpace(template, directions, centres, _on_grid(moves))


def _carried(centre: np.ndarray, reach: float, template: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Shape directions (3, 10) of a joint centre (3,) m: the affine motion of the skin around it, taken to the centre.

    MakeHuman's own joint helpers slide against the skin (the knee by 9 mm per standard deviation of stature), so they
    give the centres of the mean person only.
    """
    near = np.linalg.norm(template - centre, axis=1) < reach
    design = np.concatenate([template[near] - centre, np.ones((near.sum(), 1))], axis=1)
    return np.linalg.lstsq(design, directions[near].reshape(len(design), -1), rcond=None)[0][-1].reshape(3, -1)


def _orthogonal(components: np.ndarray) -> np.ndarray:
    """Gram-Schmidt over components (10, 6890, 3)."""
    result = components.copy()
    for k in range(1, len(result)):
        for earlier in result[:k]:
            result[k] -= np.sum(result[k] * earlier) / np.sum(earlier**2) * earlier
    return result


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.round(values / GRID) * GRID + 0.0
