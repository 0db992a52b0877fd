"""The bone surface inside the skin (docs/body_model.md): scaled per bone, placed in the T-pose, posed rigidly."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.arrays import SkelArrays
from pipeline.body.kinematics import BoneTransforms, RestPose
from pipeline.body.skinning import blend
from schemas.skel import N_JOINTS, PARENTS

_HEAD, _THORAX, _LUMBAR, _HANDS = 13, 12, 11, (18, 23)
_HEAD_RATIOS = ((0, 2, 410, 384), (1, 1, 414, 384), (2, 0, 196, 3708))
_HAND_RATIOS = ((0, 1, 6179, 6137), (1, 0, 5670, 5906))
_CHEST, _BACKS = 3027, (3495, 3506)


class SkeletonSurface:
    """Constants of the skeleton mesh; `tensor` turns an array into the model's dtype and device."""

    def __init__(self, arrays: SkelArrays, tensor: Callable[[object], Float[Tensor, "..."]]):
        if arrays.skeleton is None:
            raise ValueError("the body arrays hold no skeleton mesh")
        self.faces = torch.as_tensor(arrays.skeleton.faces)
        self._vertices = tensor(arrays.skeleton.vertices)
        self._weights = tensor(arrays.skeleton.weights)
        self._rigid = tensor(arrays.skeleton.weights_rigid)
        self._template = tensor(arrays.template)
        self._apose_offsets = tensor(arrays.apose_offsets)

    def pose(
        self, rest: RestPose, world: BoneTransforms, centered: Float[Tensor, "B 24 3"], skin: Float[Tensor, "B 6890 3"]
    ) -> Float[Tensor, "B S 3"]:
        """Posed skeleton vertices (B, S, 3) m; `skin` (B, 6890, 3) is the shaped T-pose the bones are scaled from."""
        scales = self._scales(rest, skin)
        placed = blend(
            self._rigid, rest.bones * scales[:, :, None, :], rest.joints, self._vertices.expand(len(skin), -1, -1)
        )
        return blend(self._weights, world.rotations, centered, placed)

    def _scales(self, rest: RestPose, skin: Tensor) -> Tensor:
        """(B, 24, 3) scale of each bone along its own axes."""
        base = self._length_ratios(rest)
        scales = base[..., None].repeat(1, 1, 3)
        for o, d, i, k in _HEAD_RATIOS:
            scales[:, _HEAD, o] = self._ratio(skin, i, k, d)
        for hand in _HANDS:
            for o, d, i, k in _HAND_RATIOS:
                scales[:, hand, o] = self._ratio(skin, i, k, d)
        depth = torch.minimum(*(self._ratio(skin, _CHEST, back, 2) for back in _BACKS))
        scales[:, _THORAX, 0] = scales[:, _LUMBAR, 0] = depth
        return scales

    def _length_ratios(self, rest: RestPose) -> Tensor:
        ratios = torch.ones(rest.rel.shape[:2], dtype=rest.rel.dtype, device=rest.rel.device)
        for joint in range(N_JOINTS):
            child = next((c for c in range(1, N_JOINTS) if PARENTS[c] == joint), 0)
            if child:
                ratios[:, joint] = rest.rel[:, child].norm(dim=-1) / self._apose_offsets[child].norm()
        ratios[:, 16], ratios[:, 21], ratios[:, 12] = (
            ratios[:, 17].clone(),
            ratios[:, 22].clone(),
            ratios[:, 11].clone(),
        )
        ratios[:, 11] = rest.rel[:, 11, 1].abs() / self._apose_offsets[11, 1].abs()
        return ratios

    def _ratio(self, skin: Tensor, i: int, k: int, d: int) -> Tensor:
        return (skin[:, i, d] - skin[:, k, d]) / (self._template[i, d] - self._template[k, d])
