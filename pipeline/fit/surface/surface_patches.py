"""The skin as a few hundred patch means: points that are cheap to move and still tell where the surface is."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.body.keypoint_tables import KeypointTables
from pipeline.body.keypoints import KeypointOperator, KeypointsAndJacobian
from pipeline.body.skel import CORRECTIVE_JOINTS, Skel
from pipeline.body.skinning import shaped
from pipeline.fit.surface.bone_motion import rigid_rotations


class SurfacePatches:
    """Vertices grouped around evenly spread seeds; share (P,) is each patch's part of all vertices."""

    def __init__(self, skel: Skel, n_patches: int):
        members = nearest_seed(skel.arrays.template, n_patches)
        counts = np.bincount(members, minlength=n_patches)
        self._skel = skel
        means = np.zeros((n_patches, len(members)))
        means[members, np.arange(len(members))] = 1 / counts[members]
        self._members = torch.as_tensor(members, device=skel.device)
        self._counts = torch.as_tensor(counts, device=skel.device)[:, None]
        self.share = torch.as_tensor(counts / len(members), dtype=skel.dtype, device=skel.device)
        self._means = torch.as_tensor(means, dtype=skel.dtype, device=skel.device)
        self._rest, self._shape = (
            self._means @ skel.template,
            (self._means @ skel.shapedirs.flatten(1)).unflatten(-1, (3, -1)),
        )
        bone_share = self._means @ skel.skin_weights
        self._bone_weights = bone_share**2 * self.share[:, None]  # a patch that bones share tells less of each
        self._operator = KeypointOperator.collapse(
            means, skel.arrays, skel.corrective_posedirs(), CORRECTIVE_JOINTS, skel.rig
        )

    @property
    def tables(self) -> KeypointTables:
        """The constants of the compiled loop."""
        return self._operator.tables

    def of_mesh(self, vertices: Float[Tensor, "B 6890 C"]) -> Float[Tensor, "B P C"]:
        """Patch means of what the vertices carry, in the dtype of the model."""
        if vertices.is_cuda:  # adding up by index would add in any order there
            return (self._means.to(vertices.dtype) @ vertices).to(self._means.dtype)
        sums = vertices.new_zeros(len(vertices), len(self._counts), vertices.shape[-1]).index_add_(
            1, self._members, vertices
        )
        return (sums / self._counts).to(self._means.dtype)

    def rigid_bone_rotations(
        self, patches: Float[Tensor, "B P 3"], betas: Float[Tensor, "B 10"]
    ) -> Float[Tensor, "B 24 3 3"]:
        """World rotation of each bone from the T-pose: weighted Procrustes of the patches it carries."""
        return rigid_rotations(shaped(self._rest, self._shape, betas), patches, self._bone_weights)

    def points_and_jacobian(self, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> KeypointsAndJacobian:
        """Patch means of the posed SKEL skin and their derivatives."""
        return self._operator.points_and_jacobian(self._skel.rig, q, betas)


def nearest_seed(points: Float[np.ndarray, "N 3"], count: int) -> Int64[np.ndarray, "N"]:
    """Index (N,) of the nearest of `count` seeds spread by farthest-point sampling from the first point."""
    distance, nearest = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
    seed = 0
    for index in range(count):
        to_seed = np.linalg.norm(points - points[seed], axis=1)
        closer = to_seed < distance
        nearest[closer], distance[closer] = index, to_seed[closer]
        seed = int(distance.argmax())
    return nearest
