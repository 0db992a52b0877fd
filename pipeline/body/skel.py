"""The SKEL body model: q (46 joint angles), betas (10) and trans -> joints, skin, bone frames, skeleton mesh."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from pipeline.body import kinematics
from pipeline.body.arrays import SkelArrays, digest
from pipeline.body.keypoints import KeypointOperator, KeypointsAndJacobian
from pipeline.body.kinematics import BoneTransforms, LocalMotion, RestPose, Rig
from pipeline.body.skeleton_mesh import SkeletonSurface
from pipeline.body.skinning import about, blend, posed_offsets, shaped

_SLOT_JOINTS = (0, 2, 5, 8, 8, 11, 1, 4, 7, 7, 10, 3, 6, 15, 14, 17, 19, 0, 21, 13, 16, 18, 0, 20)
"""SMPL slot that the rotation of each SKEL joint is written to; later joints overwrite, slot 0 is ignored."""


def corrective_joints() -> tuple[tuple[int, int], ...]:
    """(SMPL slot, SKEL joint) pairs that drive pose correctives; slots 9, 12, 22 and 23 stay at rest."""
    source = {slot: joint for joint, slot in enumerate(_SLOT_JOINTS) if slot != 0}
    return tuple(sorted(source.items()))


CORRECTIVE_JOINTS: tuple[int, ...] = tuple(joint for _, joint in corrective_joints())


@dataclass(frozen=True, slots=True)
class SkelOutput:
    """Posed body, S-axes, m: joints (B, 24, 3), skin_vertices (B, 6890, 3), joint_rotations (B, 24, 3, 3) the world
    rotation of each bone frame (rot(G_j) B_j), bone_transforms from the T-pose (without trans), skeleton_vertices
    (B, S, 3) when asked for.
    """

    joints: Float[Tensor, "B 24 3"]
    skin_vertices: Float[Tensor, "B 6890 3"]
    joint_rotations: Float[Tensor, "B 24 3 3"]
    bone_transforms: BoneTransforms
    skeleton_vertices: Float[Tensor, "B S 3"] | None = None


class Skel:
    """SKEL with constants on one device in one dtype. Build it with `pipeline.body.load_skel`.

    Differentiable by autograd; `keypoints_and_jacobian` gives the analytic derivative without it.
    """

    def __init__(self, arrays: SkelArrays, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.arrays, self.device, self.dtype = arrays, torch.device(device), dtype
        self.digest = digest(arrays)
        self.faces = torch.as_tensor(arrays.faces, device=self.device)
        posedirs = self.corrective_posedirs()
        self.template, self.shapedirs = self._tensor(arrays.template), self._tensor(arrays.shapedirs)
        self.posedirs, self.skin_weights = self._tensor(posedirs), self._tensor(arrays.skin_weights)
        self.rig = self._make_rig(arrays)
        self.keypoint_operator = KeypointOperator.collapse(
            arrays.keypoint_regressor, arrays, posedirs, CORRECTIVE_JOINTS, self.rig
        )
        self._skeleton = SkeletonSurface(arrays, self._tensor) if arrays.skeleton is not None else None

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same body on another device or in another dtype."""
        return type(self)(self.arrays, device=device, dtype=dtype or self.dtype)

    def corrective_posedirs(self) -> Float64[np.ndarray, "6890 3 features"]:
        """(6890, 3, 9 S) pose displacements of the S joints that drive any, m."""
        slots = [slot - 1 for slot, _ in corrective_joints()]
        return self.arrays.posedirs.reshape(-1, 3, 23, 9)[:, :, slots].reshape(-1, 3, 9 * len(slots))

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array, dtype=self.dtype, device=self.device)

    def _make_rig(self, arrays: SkelArrays) -> Rig:
        """Rest kinematics in float64 first, so that float32 models start from rounded, not accumulated, constants."""
        sources = kinematics.bone_sources(torch.as_tensor(arrays.apose_offsets))
        turned = torch.as_tensor(arrays.bone_rotations) @ sources[..., None]
        return Rig(
            joint_template=self._tensor(arrays.joint_regressor @ arrays.template),
            joint_dirs=self._tensor((arrays.joint_regressor @ arrays.shapedirs.reshape(-1, 30)).reshape(-1, 3, 10)),
            bone_rotations=self._tensor(arrays.bone_rotations),
            apose_rotations=self._tensor(arrays.apose_rotations),
            sources=self._tensor(turned.squeeze(-1)),
        )

    def forward(
        self,
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        trans: Float[Tensor, "B 3"] | None = None,
        *,
        joint_offsets: Float[Tensor, "B 24 3"] | None = None,
        with_skeleton: bool = False,
    ) -> SkelOutput:
        """Pose the whole body (docs/body_model.md, forward pass).

        q rad; betas in standard deviations; trans m, added last. joint_offsets (dJ) displaces the T-pose joints.
        The root turns about its own rest position, not about the origin.
        """
        rest, motion, world = self.bone_motion(q, betas, joint_offsets)
        centered = about(world.rotations, world.translations, rest.joints)
        correctives = posed_offsets(self.posedirs, motion.rotations[:, list(CORRECTIVE_JOINTS)])
        points = shaped(self.template, self.shapedirs, betas) + correctives
        skin = blend(self.skin_weights, world.rotations, centered, points)
        skeleton = None
        if with_skeleton:
            skeleton = self._skeleton_surface().pose(
                rest, world, centered, shaped(self.template, self.shapedirs, betas)
            )
        shift = 0 if trans is None else trans[:, None]
        return SkelOutput(
            joints=world.translations + shift,
            skin_vertices=skin + shift,
            joint_rotations=world.rotations @ rest.bones,
            bone_transforms=world,
            skeleton_vertices=None if skeleton is None else skeleton + shift,
        )

    __call__ = forward

    def bone_motion(
        self,
        q: Float[Tensor, "B 46"],
        betas: Float[Tensor, "B 10"],
        joint_offsets: Float[Tensor, "B 24 3"] | None = None,
    ) -> tuple[RestPose, LocalMotion, BoneTransforms]:
        """Kinematics only: rest pose, joint motion in the parents' frames and world transforms of the 24 bones."""
        self._check(q, betas)
        rest = kinematics.rest_pose(self.rig, betas, joint_offsets)
        motion = kinematics.local_motion(self.rig, rest, q)
        return rest, motion, kinematics.forward_kinematics(motion)

    def joints(self, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 24 3"]:
        """The 24 joints without trans, without touching the mesh."""
        return self.bone_motion(q, betas)[2].translations

    def keypoints(self, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        """The 44 keypoints without trans, exactly those of the posed mesh, by the collapsed operator."""
        rest, motion, world = self.bone_motion(q, betas)
        return self.keypoint_operator.points(rest, motion, world, betas)

    def heights(self, betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B"]:
        """Body height, m: from the soles to the crown in the T-pose."""
        upright = self.template[:, 1] + betas @ self.shapedirs[:, 1].mT
        return upright.amax(1) - upright.amin(1)

    def keypoints_and_jacobian(self, q: Float[Tensor, "B 46"], betas: Float[Tensor, "B 10"]) -> KeypointsAndJacobian:
        """(X (B, 44, 3), dX/dq (B, 44, 3, 46), dX/dbetas (B, 44, 3, 10)), analytic and complete."""
        self._check(q, betas)
        return self.keypoint_operator.points_and_jacobian(self.rig, q, betas)

    @property
    def skeleton_faces(self) -> Int[Tensor, "T 3"]:
        """(T, 3) faces of the skeleton mesh."""
        return self._skeleton_surface().faces

    def _skeleton_surface(self) -> SkeletonSurface:
        if self._skeleton is None:
            raise ValueError("this body has no skeleton mesh; use a body file that carries skel_template_v")
        return self._skeleton

    def _check(self, q: Tensor, betas: Tensor) -> None:
        if q.dim() != 2 or q.shape[1] != 46 or betas.shape != (q.shape[0], 10):
            raise ValueError(f"expected q (B, 46) and betas (B, 10), got {tuple(q.shape)} and {tuple(betas.shape)}")
