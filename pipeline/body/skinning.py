"""Linear blend skinning and pose blend shapes, shared by SKEL and SMPL."""

import torch
from jaxtyping import Float
from torch import Tensor


def blend(
    weights: Float[Tensor, "V J"],
    rotations: Float[Tensor, "B J 3 3"],
    translations: Float[Tensor, "B J 3"],
    points: Float[Tensor, "B V 3"],
) -> Float[Tensor, "B V 3"]:
    """v = sum_j w_vj (R_j p_v + t_j): rotations (B, J, 3, 3), translations (B, J, 3), points (B, V, 3) -> (B, V, 3)."""
    batch, joints = rotations.shape[:2]
    flat = torch.cat([rotations, translations[..., None]], -1).reshape(batch, joints, 12)
    blended = (weights @ flat).reshape(batch, weights.shape[0], 3, 4)
    return (blended[..., :3] @ points[..., None]).squeeze(-1) + blended[..., 3]


def about(
    rotations: Float[Tensor, "B J 3 3"], translations: Float[Tensor, "B J 3"], centers: Float[Tensor, "B J 3"]
) -> Float[Tensor, "B J 3"]:
    """Translation of the map p -> R (p - center) + t, i.e. t - R center; all (B, J, 3)."""
    return translations - (rotations @ centers[..., None]).squeeze(-1)


def shaped(
    template: Float[Tensor, "V 3"], shapedirs: Float[Tensor, "V 3 S"], betas: Float[Tensor, "B S"]
) -> Float[Tensor, "B V 3"]:
    """Template plus shape displacements: (V, 3), (V, 3, S), (B, S) -> (B, V, 3) m."""
    offsets = betas @ shapedirs.reshape(-1, shapedirs.shape[-1]).mT
    return template + offsets.reshape(betas.shape[0], *template.shape)


def posed_offsets(
    posedirs: Float[Tensor, "V 3 features"], rotations: Float[Tensor, "B K 3 3"]
) -> Float[Tensor, "B V 3"]:
    """Pose correctives (B, V, 3) m of the feature flatten(R - I): posedirs (V, 3, 9 K), rotations (B, K, 3, 3)."""
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    feature = (rotations - eye).flatten(1)
    return (feature @ posedirs.reshape(-1, posedirs.shape[-1]).mT).reshape(feature.shape[0], posedirs.shape[0], 3)
