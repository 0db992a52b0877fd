"""What a network's answer is a pose of: SKEL for HSMR, neutral SMPL for HMR2.0; each gives what protocols compare."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.body import BodyFileError, Skel, Smpl, load_smpl
from pipeline.body.body_files import read_smpl_joint_regressor
from pipeline.body.gendered_skel import load_skels, skels_digest
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.runtime.config import BodyConfig
from schemas.gender import Gender, GenderChoice, chosen_gender
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


class MixedSkelBody:
    """SKEL of some people, each of their own gender."""

    def __init__(self, bodies: Mapping[Gender, SkelBody], genders: Sequence[Gender]) -> None:
        """genders: of the people, in the order in which they will be posed."""
        self._bodies, one = bodies, next(iter(bodies.values()))
        self.digest = skels_digest({gender: body.skel for gender, body in bodies.items()})
        self.faces, self._regressor = one.faces, one.regressor
        self._rows = {gender: [row for row, own in enumerate(genders) if own == gender] for gender in bodies}
        self.name = f"auto: {', '.join(f'{len(rows)} {gender}' for gender, rows in self._rows.items())} SKEL"

    def regressor(self, truth: Truth) -> str:
        return self._regressor(truth)

    def keypoints(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 44 3"]:
        return self._together(len(pose), lambda body, rows: body.keypoints(pose[rows], betas[rows]))

    def surface(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Surface:
        return Surface(
            self._together(len(pose), lambda body, rows: body.surface(pose[rows], betas[rows]).joints),
            self.vertices(pose, betas),
        )

    def vertices(self, pose: Float[Tensor, "B P"], betas: Float[Tensor, "B 10"]) -> Float[Tensor, "B 6890 3"]:
        return self._together(len(pose), lambda body, rows: body.vertices(pose[rows], betas[rows]))

    def violations(self, pose: Float[Tensor, "B P"]) -> Violations:
        return skel_violations(pose)

    def _together(
        self, count: int, posed: Callable[[SkelBody, list[int]], Float[Tensor, "M K 3"]]
    ) -> Float[Tensor, "B K 3"]:
        """Points of everyone, posed by gender, in the order of the people."""
        order = [row for rows in self._rows.values() for row in rows]
        if len(order) != count:
            raise ValueError(f"{count} people are to be posed, and the genders of {len(order)} are known")
        points = torch.cat([posed(self._bodies[gender], rows) for gender, rows in self._rows.items() if rows])
        return points[torch.argsort(torch.tensor(order)).to(points.device)]


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
    """By the kind of network, and SKEL by gender: one for everyone, or both where each person has their own. Truths
    that are SMPL parameters are of smpl's body too.
    """

    hsmr: Mapping[Gender, SkelBody]
    hmr2: SmplBody

    def of(self, kind: str, known: Sequence[Gender | None]) -> OutputBody:
        """For people of whom this is known, in this order; kind: as `trainer.checkpoint.network_weights.KINDS` says."""
        if kind != "hsmr":
            return self.hmr2
        bodies = self.hsmr
        return MixedSkelBody(bodies, self._given(known)) if len(bodies) > 1 else next(iter(bodies.values()))

    def genders(self, kind: str, known: Sequence[Gender | None]) -> list[Gender] | list[None]:
        """Of the SKEL bodies of these people; nobody's where the network predicts SMPL."""
        return self._given(known) if kind == "hsmr" else [None] * len(known)

    def _given(self, known: Sequence[Gender | None]) -> list[Gender]:
        choice: GenderChoice = "auto" if len(self.hsmr) > 1 else next(iter(self.hsmr))
        return [chosen_gender(choice, gender) for gender in known]


def load_bodies(body: BodyConfig, device: str, *, smpl_joints: bool) -> Bodies:
    """In float64. smpl_joints: whether SKEL must give SMPL's joints. Raises BodyFileError."""
    skels = load_skels(body.source, body.gender, device, torch.float64)
    regressor = read_smpl_joint_regressor(body.source) if smpl_joints else None
    smpl = load_smpl(body.source, device=device, dtype=torch.float64)
    return Bodies({gender: SkelBody(skel, gender, regressor) for gender, skel in skels.items()}, SmplBody(smpl))
