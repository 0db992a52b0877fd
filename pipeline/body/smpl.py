"""The SMPL body model (Loper et al. 2015): pose (24 axis-angles), betas (10) -> joints, vertices, 44 keypoints."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.arrays import BODY25_SLOTS, SMPL_PARENTS, SmplArrays, digest, landmark_rows
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.body.skinning import about, blend, posed_offsets, shaped


@dataclass(frozen=True, slots=True)
class SmplOutput:
    """Posed SMPL body, m: joints (B, 24, 3), vertices (B, 6890, 3), keypoints (B, 44, 3)."""

    joints: Float[Tensor, "B 24 3"]
    vertices: Float[Tensor, "B 6890 3"]
    keypoints: Float[Tensor, "B 44 3"]


class Smpl:
    """SMPL with constants on one device in one dtype. Build it with `pipeline.body.load_smpl`."""

    def __init__(self, arrays: SmplArrays, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.arrays, self.device, self.dtype = arrays, torch.device(device), dtype
        self.digest = digest(arrays)
        self.faces = torch.as_tensor(arrays.faces, device=self.device)
        self.template, self.shapedirs = self._tensor(arrays.template), self._tensor(arrays.shapedirs)
        self.posedirs, self.skin_weights = self._tensor(arrays.posedirs), self._tensor(arrays.skin_weights)
        self._joint_template = self._tensor(arrays.joint_regressor @ arrays.template)
        dirs = arrays.joint_regressor @ arrays.shapedirs.reshape(len(arrays.shapedirs), -1)
        self._joint_dirs = self._tensor(dirs.reshape(24, 3, -1))
        self._landmarks = self._tensor(landmark_rows())
        self._j19 = self._tensor(arrays.j19_regressor)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same body on another device or in another dtype."""
        return type(self)(self.arrays, device=device, dtype=dtype or self.dtype)

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array, dtype=self.dtype, device=self.device)

    def forward(
        self,
        pose: Float[Tensor, "B 24 3"],
        betas: Float[Tensor, "B 10"],
        transl: Float[Tensor, "B 3"] | None = None,
    ) -> SmplOutput:
        """Pose the mesh. pose: axis-angle rad, root first; transl m, added last.

        Raises ValueError on wrong shapes.
        """
        if pose.dim() != 3 or pose.shape[1:] != (24, 3) or betas.shape != (pose.shape[0], 10):
            raise ValueError(
                f"expected pose (B, 24, 3) and betas (B, 10), got {tuple(pose.shape)}, {tuple(betas.shape)}"
            )
        local = axis_angle_to_matrix(pose)
        rest = self._joint_template + torch.einsum("jcs,bs->bjc", self._joint_dirs, betas)
        rotations, joints = self._chain(local, rest)
        points = shaped(self.template, self.shapedirs, betas) + posed_offsets(self.posedirs, local[:, 1:])
        vertices = blend(self.skin_weights, rotations, about(rotations, joints, rest), points)
        body25 = torch.cat([joints, self._landmarks @ vertices], 1)[:, list(BODY25_SLOTS)]
        keypoints = torch.cat([body25, self._j19 @ vertices], 1)
        shift = 0 if transl is None else transl[:, None]
        return SmplOutput(joints + shift, vertices + shift, keypoints + shift)

    __call__ = forward

    def _chain(self, local: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        rotations, joints = [local[:, 0]], [rest[:, 0]]
        for joint, parent in list(enumerate(SMPL_PARENTS))[1:]:
            rotations.append(rotations[parent] @ local[:, joint])
            offset = rest[:, joint] - rest[:, parent]
            joints.append((rotations[parent] @ offset[..., None]).squeeze(-1) + joints[parent])
        return torch.stack(rotations, 1), torch.stack(joints, 1)
