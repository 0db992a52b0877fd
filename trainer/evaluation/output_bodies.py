"""What a network's answer is a pose of: SKEL for HSMR, neutral SMPL for HMR2.0; each gives what protocols compare."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body import BodyFileError, Skel, Smpl, load_skel, load_smpl
from pipeline.body.body_files import read_smpl_joint_regressor
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.runtime.config import BodyConfig
from trainer.evaluation.protocols import Truth
from trainer.evaluation.violations import Violations, skel_violations, smpl_violations

_REGRESSORS: Final[Mapping[Truth, str]] = {
    "keypoints_3d": "SMPL_to_J19",
    "keypoints_2d": "SKEL_mix, SMPL_to_J19",
    "smpl": "J_regressor_SMPL_MALE",
}
"""Of SKEL; all are of the posed skin."""


class Surface(NamedTuple):
    """The 24 joints of SMPL and V vertices, m, without translation."""

    joints: Float[Tensor, "B 24 3"]
    vertices: Float[Tensor, "B V 3"]


class OutputBody(Protocol):
    """pose: q (B, 46) rad for SKEL, 24 axis-angles (B, 72) for SMPL; m, without translation, in the pose's axes."""

    @property
    def name(self) -> str:
        """Body and gender, as the table states them."""
        ...

    @property
    def digest(self) -> str:
        """Of the body's numbers."""
        ...

    @property
    def faces(self) -> Int[np.ndarray, "F 3"]:
        """Triangles of the vertices."""
        ...

    def regressor(self, truth: Truth) -> str:
        """What takes the body to the points of a protocol, as the table states it."""
        ...

    def keypoints(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        """The 44 keypoints."""
        ...

    def surface(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Surface:
        """SMPL's joints and the skin. Raises BodyFileError without the regressor that they need."""
        ...

    def vertices(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 6890 3"]:
        """The skin alone."""
        ...

    def violations(self, pose: Float[Tensor, "B P"]) -> Violations:
        """Of knees and elbows."""
        ...


class SkelBody:
    """SKEL of one gender; its skin gives SMPL's joints by J_regressor_SMPL_MALE."""

    def __init__(self, skel: Skel, gender: str, smpl_joints: Float[np.ndarray, "24 6890"] | None) -> None:
        self.skel, self.name, self.digest = skel, f"{gender} SKEL", skel.digest
        self.faces = skel.arrays.faces
        self._joints = None if smpl_joints is None else torch.as_tensor(smpl_joints, dtype=skel.dtype).to(skel.device)

    def regressor(self, truth: Truth) -> str:
        return _REGRESSORS[truth]

    def keypoints(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        return self.skel.keypoints(pose, betas)

    def surface(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Surface:
        if self._joints is None:
            raise BodyFileError("J_regressor_SMPL_MALE.pkl is needed to compare SKEL with SMPL, and was not loaded.")
        vertices = self.vertices(pose, betas)
        return Surface(self._joints @ vertices, vertices)

    def vertices(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 6890 3"]:
        return self.skel(pose, betas).skin_vertices

    def violations(self, pose: Float[Tensor, "B P"]) -> Violations:
        return skel_violations(pose)


class SmplBody:
    """Neutral SMPL."""

    name = "neutral SMPL"

    def __init__(self, smpl: Smpl) -> None:
        self.smpl, self.digest, self.faces = smpl, smpl.digest, smpl.arrays.faces

    def regressor(self, truth: Truth) -> str:
        return {**_REGRESSORS, "keypoints_2d": "SMPL's joints, SMPL_to_J19", "smpl": "SMPL's joints"}[truth]

    def keypoints(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        return self.smpl(pose.unflatten(1, (24, 3)), betas).keypoints

    def surface(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Surface:
        posed = self.smpl(pose.unflatten(1, (24, 3)), betas)
        return Surface(posed.joints, posed.vertices)

    def vertices(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 6890 3"]:
        return self.surface(pose, betas).vertices

    def violations(self, pose: Float[Tensor, "B P"]) -> Violations:
        return smpl_violations(axis_angle_to_matrix(pose.unflatten(1, (24, 3))))


class Bodies(NamedTuple):
    """By the kind of network; truths that are SMPL parameters are of smpl's body too."""

    hsmr: SkelBody
    hmr2: SmplBody

    def of(self, kind: str) -> OutputBody:
        """kind: as `trainer.checkpoint.network_weights.KINDS` has it."""
        return self.hsmr if kind == "hsmr" else self.hmr2


def load_bodies(body: BodyConfig, device: str, *, smpl_joints: bool) -> Bodies:
    """In float64. smpl_joints: whether SKEL must give SMPL's joints. Raises BodyFileError."""
    skel = load_skel(body.source, gender=body.gender, device=device, dtype=torch.float64)
    regressor = read_smpl_joint_regressor(body.source) if smpl_joints else None
    smpl = load_smpl(body.source, device=device, dtype=torch.float64)
    return Bodies(SkelBody(skel, body.gender, regressor), SmplBody(smpl))
