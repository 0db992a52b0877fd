"""One SMPL motion to one SKEL motion: a shape for all frames, each pose started from a neighbour's."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from pipeline.body import Smpl
from pipeline.body.skel import Skel
from pipeline.fit import SmplToSkel, SmplToSkelConfig, SmplToSkelResult
from pipeline.motions.smpl_motion import MotionGender, SmplMotion

SHAPE_FRAMES: Final = 32  # spread over the motion, whose shapes the common one is the median of
KEY_EVERY: Final = 4  # frames; a key frame starts from nothing, the others from the nearest key frame
_HELD: Final = 1e-4  # how far betas may be from the common shape
_AT_ONCE: Final = 1024  # frames whose meshes, 80 KB each, are in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SkelMotion:
    """A person over time: q, q_std (T, 46) rad, trans (T, 3) m in the axes of the source, pelvis (T, 3) m: joint 0 with
    trans; betas (10,); PVE to the SMPL mesh (T,) mm; gender: of the SKEL body; smpl_gender: of the SMPL body.
    """

    q: Float32[np.ndarray, "T 46"]
    q_std: Float32[np.ndarray, "T 46"]
    trans: Float32[np.ndarray, "T 3"]
    pelvis: Float32[np.ndarray, "T 3"]
    betas: Float32[np.ndarray, "10"]
    pve_mean_mm: Float32[np.ndarray, "T"]
    pve_max_mm: Float32[np.ndarray, "T"]
    fps: float
    gender: str
    smpl_gender: MotionGender

    @property
    def times(self) -> Float[np.ndarray, "T"]:
        """s from the first frame."""
        return np.arange(len(self.q)) / self.fps


class MotionConverter:
    """Between a SMPL and a SKEL body, of which the names of the genders are kept."""

    def __init__(self, smpl: Smpl, skel: Skel, *, gender: str, smpl_gender: MotionGender) -> None:
        config = SmplToSkelConfig()
        self.smpl, self.skel, self.gender, self.smpl_gender = smpl, skel, gender, smpl_gender
        self._free, self._held = SmplToSkel(smpl, skel), SmplToSkel(smpl, skel, replace(config, betas_std=_HELD))
        self._poor_mm = config.poor_fit_mm

    @torch.no_grad()
    def convert(self, motion: SmplMotion) -> SkelMotion:
        """A frame whose fit from a neighbour is poor is fitted once more, from nothing; the nearer of the two stays."""
        pose, smpl_betas = torch.as_tensor(motion.pose), torch.as_tensor(motion.betas)
        betas = self._common_shape(pose, smpl_betas)
        parts = [self._poses(part, smpl_betas, betas) for part in pose.split(_AT_ONCE)]
        found = SmplToSkelResult(*(torch.cat(values) for values in zip(*parts, strict=True)))
        q, shape = found.q.float(), betas.float()
        pelvis = torch.cat([self._pelvis(part, shape) for part in q.split(_AT_ONCE)])
        trans = found.trans.float() + torch.as_tensor(motion.trans)
        return SkelMotion(
            q=q.numpy(),
            q_std=found.q_std.float().numpy(),
            trans=trans.numpy(),
            pelvis=(pelvis + trans).numpy(),
            betas=shape.numpy(),
            pve_mean_mm=found.pve_mean_mm.float().numpy(),
            pve_max_mm=found.pve_max_mm.float().numpy(),
            fps=motion.fps,
            gender=self.gender,
            smpl_gender=self.smpl_gender,
        )

    def _common_shape(self, pose: Tensor, smpl_betas: Tensor) -> Float[Tensor, "10"]:
        chosen = pose[torch.linspace(0, len(pose) - 1, min(len(pose), SHAPE_FRAMES)).round().long()]
        found = self._free.fit(chosen, smpl_betas.expand(len(chosen), -1))
        good = found.betas[~found.poor_fit]
        return (good if len(good) else found.betas).median(0).values

    def _poses(self, pose: Tensor, smpl_betas: Tensor, betas: Tensor) -> SmplToSkelResult:
        meshes, shape = self._meshes(pose, smpl_betas), betas.expand(len(pose), -1)
        keys, others, nearest = neighbours(len(pose))
        first = self._held.fit_mesh(meshes[keys], shape[keys])
        if not len(others):
            return first
        rest = self._held.fit_mesh(meshes[others], shape[others], first.q[nearest])
        back = torch.argsort(torch.cat([keys, others]))
        found = SmplToSkelResult(*(torch.cat(pair)[back] for pair in zip(first, rest, strict=True)))
        poor = torch.nonzero(~(found.pve_max_mm <= self._poor_mm)).squeeze(1)
        if not len(poor):
            return found
        again = self._held.fit_mesh(meshes[poor], shape[poor])
        nearer = again.pve_mean_mm < found.pve_mean_mm[poor]
        rows = poor[nearer]
        return SmplToSkelResult(*(old.index_copy(0, rows, new[nearer]) for old, new in zip(found, again, strict=True)))

    def _meshes(self, pose: Tensor, smpl_betas: Tensor) -> Float[Tensor, "B 6890 3"]:
        parts, betas = pose.to(self.smpl.dtype).split(64), smpl_betas.to(self.smpl.dtype)
        return torch.cat([self.smpl(part, betas.expand(len(part), -1)).vertices.float() for part in parts])

    def _pelvis(self, q: Tensor, betas: Tensor) -> Float[Tensor, "B 3"]:
        dtype = self.skel.dtype
        return self.skel.joints(q.to(dtype), betas.to(dtype).expand(len(q), -1))[:, 0].float()


def neighbours(count: int) -> tuple[Int[Tensor, "K"], Int[Tensor, "R"], Int[Tensor, "R"]]:
    """Key frames, the other frames, and for each of these the number of the nearest key frame."""
    frames = torch.arange(count)
    is_key = frames % KEY_EVERY == 0
    keys, others = frames[is_key], frames[~is_key]
    nearest = ((others + KEY_EVERY // 2 - 1) // KEY_EVERY).clamp_max(len(keys) - 1)
    return keys, others, nearest
