"""The body that predictions are of, as result files show it: SKEL, or SMPL where HMR2.0 predicted."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int

from pipeline.body import Skel, Smpl
from pipeline.body.gendered_skel import skels_digest
from pipeline.body.rotations import axis_angle_to_matrix
from schemas.gender import Gender
from trainer.inference.placed_bodies import PlacedBodies, place_bodies, placed
from trainer.inference.predicted_people import PredictedPeople, SmplPeople, as_tensors
from trainer.inference.surfaces import Surfaces, pose_surfaces, surfaces_in_parts

Faces = Int[np.ndarray, "F 3"]


class ShownBody(Protocol):
    """faces: of the skin; bone_faces: of the skeleton, None for a body without one."""

    @property
    def digest(self) -> str: ...

    @property
    def faces(self) -> Faces: ...

    @property
    def bone_faces(self) -> Faces | None: ...

    def place(self, batch: Any) -> PlacedBodies:
        """Where the people of a batch are."""
        ...

    def surfaces(self, batch: Any, *, with_skeleton: bool) -> Surfaces:
        """Their meshes."""
        ...


class ShownSkel:
    """SKEL, one for everyone or both; their faces are the same ones."""

    def __init__(self, skels: Mapping[Gender, Skel]) -> None:
        self._skels, self.digest, one = skels, skels_digest(skels), next(iter(skels.values()))
        self.faces, self.bone_faces = one.faces.cpu().numpy(), one.skeleton_faces.cpu().numpy()

    def place(self, batch: PredictedPeople) -> PlacedBodies:
        return place_bodies(batch, self._skels)

    def surfaces(self, batch: PredictedPeople, *, with_skeleton: bool) -> Surfaces:
        return pose_surfaces(batch, self._skels, with_skeleton=with_skeleton)


class ShownSmpl:
    """SMPL; it has no skeleton to show."""

    bone_faces = None

    def __init__(self, smpl: Smpl) -> None:
        self._smpl, self.digest, self.faces = smpl, smpl.digest, smpl.faces.cpu().numpy()

    def place(self, batch: SmplPeople) -> PlacedBodies:
        pose, betas = as_tensors(self._smpl, batch.smpl_pose, batch.betas)
        with torch.inference_mode():
            joints = self._smpl.joints(axis_angle_to_matrix(pose.unflatten(1, (24, 3))), betas)
        return placed(batch, joints[:, 0].double().cpu().numpy())

    def surfaces(self, batch: SmplPeople, *, with_skeleton: bool) -> Surfaces:
        def posed(some: slice) -> Surfaces:
            pose, betas = as_tensors(self._smpl, batch.smpl_pose[some], batch.betas[some])
            return Surfaces(self._smpl(pose.unflatten(1, (24, 3)), betas).vertices.float().cpu().numpy(), None)

        return surfaces_in_parts(len(batch), posed)
