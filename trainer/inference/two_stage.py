"""The two-stage method: HMR2.0 predicts SMPL, each person's mesh is converted to SKEL.

What HSMR is compared with (Xia et al., CVPR 2025); here also a predictor that rounds can start from.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from jaxtyping import Float32

from pipeline.body import load_skel, load_smpl
from pipeline.fit import SmplToSkel
from pipeline.image.camera import FOCAL
from pipeline.labelling.predictor import Guess
from pipeline.runtime.config import BodyConfig
from schemas.camera import CameraSource
from schemas.person import Photo
from schemas.skel import N_Q
from trainer.inference.known_spread import BETAS_STD, UNMEASURED_STD
from trainer.inference.posed_person import PosedPerson
from trainer.inference.smpl_predictor import NO_TURN, SmplPredictor
from trainer.network.hmr2 import Hmr2


class TwoStagePredictor:
    """`pipeline.labelling.predictor.Predictor` and `posed_person.PosesOfPhotos`, in HSMR's constant camera."""

    def __init__(self, first: SmplPredictor, second: SmplToSkel) -> None:
        self._first, self._second = first, second

    @classmethod
    def of(cls, network: Hmr2, device: str, body: BodyConfig) -> Self:
        """Raises BodyFileError."""
        skel = load_skel(body.source, gender=body.gender, device=device, dtype=torch.float64)
        return cls(SmplPredictor(network, device), SmplToSkel(load_smpl(body.source, device=device), skel))

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        """One guess per person, in order. How far the network is off is not measured; what the mesh leaves open of q
        adds to what is assumed.
        """
        betas_std = np.full(10, BETAS_STD, np.float32)
        return [
            Guess(q, betas, cam_t, np.hypot(UNMEASURED_STD, open_std).astype(np.float32), betas_std, FOCAL)
            for q, betas, cam_t, open_std in self._converted(photos)
        ]

    def pose(self, photos: Sequence[Photo]) -> list[PosedPerson]:
        """As `predict`; q_std is 0, since it is only assumed."""
        unknown = np.zeros(N_Q, np.float32)
        return [
            PosedPerson(q, betas, cam_t, FOCAL, NO_TURN, CameraSource.HSMR, unknown)
            for q, betas, cam_t, _ in self._converted(photos)
        ]

    def _converted(self, photos: Sequence[Photo]) -> list[tuple[Float32[np.ndarray, "_"], ...]]:
        """q, betas, cam_t and the standard deviation that the conversion leaves of q, of each person."""
        answers = self._first.answers(photos)
        if not len(answers.pose):
            return []
        with torch.inference_mode(False), torch.no_grad():
            found = self._second.fit(torch.from_numpy(answers.pose), torch.from_numpy(answers.betas))
        q, betas, trans, q_std = (x.float().cpu().numpy() for x in (found.q, found.betas, found.trans, found.q_std))
        return list(zip(q, betas, answers.cam_t + trans, q_std, strict=True))
