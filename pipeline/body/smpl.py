"""The SMPL body model (Loper et al. 2015): pose (24 axis-angles), betas (10) -> joints, vertices, 44 keypoints."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
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


class _Carriers(NamedTuple):
    """The vertices that carry keypoints, of V: what poses them, and the points that are sums of them."""

    template: Float[Tensor, "V 3"]
    shapedirs: Float[Tensor, "V 3 10"]
    posedirs: Float[Tensor, "V 3 207"]
    skin_weights: Float[Tensor, "V 24"]
    landmarks: Float[Tensor, "21 V"]
    j19: Float[Tensor, "19 V"]


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
        rows = torch.as_tensor(np.flatnonzero((landmark_rows() != 0).any(0) | (arrays.j19_regressor != 0).any(0)))
        rows = rows.to(self.device)
        self._carriers = _Carriers(
            template=self.template[rows],
            shapedirs=self.shapedirs[rows],
            posedirs=self.posedirs[rows],
            skin_weights=self.skin_weights[rows],
            landmarks=self._landmarks[:, rows],
            j19=self._j19[:, rows],
        )

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
        rest = self._rest(betas)
        rotations, joints = self._chain(local, rest)
        points = shaped(self.template, self.shapedirs, betas) + posed_offsets(self.posedirs, local[:, 1:])
        vertices = blend(self.skin_weights, rotations, about(rotations, joints, rest), points)
        keypoints = _keypoints(joints, self._landmarks @ vertices, self._j19 @ vertices)
        shift = 0 if transl is None else transl[:, None]
        return SmplOutput(joints + shift, vertices + shift, keypoints + shift)

    __call__ = forward

    def joints(self, rotations: Float[Tensor, "B 24 3 3"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 24 3"]:
        """The 24 joints, m, of a pose that is given as rotation matrices, root first: no mesh is posed."""
        return self._chain(rotations, self._rest(betas))[1]

    def keypoints(self, rotations: Float[Tensor, "B 24 3 3"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        """The 44 keypoints, m, of such a pose: those of `forward`, by the few vertices that carry them."""
        by, rest = self._carriers, self._rest(betas)
        turned, joints = self._chain(rotations, rest)
        points = shaped(by.template, by.shapedirs, betas) + posed_offsets(by.posedirs, rotations[:, 1:])
        vertices = blend(by.skin_weights, turned, about(turned, joints, rest), points)
        return _keypoints(joints, by.landmarks @ vertices, by.j19 @ vertices)

    def _rest(self, betas: Tensor) -> Tensor:
        return self._joint_template + torch.einsum("jcs,bs->bjc", self._joint_dirs, betas)

    def _chain(self, local: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        rotations, joints = [local[:, 0]], [rest[:, 0]]
        for joint, parent in list(enumerate(SMPL_PARENTS))[1:]:
            rotations.append(rotations[parent] @ local[:, joint])
            offset = rest[:, joint] - rest[:, parent]
            joints.append((rotations[parent] @ offset[..., None]).squeeze(-1) + joints[parent])
        return torch.stack(rotations, 1), torch.stack(joints, 1)


def _keypoints(joints: Tensor, landmarks: Tensor, j19: Tensor) -> Tensor:
    body25 = torch.cat([joints, landmarks], 1)[:, list(BODY25_SLOTS)]
    return torch.cat([body25, j19], 1)
