"""The two-stage method: HMR2.0 predicts SMPL, each person's mesh is converted to SKEL.

What HSMR is compared with (Xia et al., CVPR 2025); here also a predictor that rounds can start from.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from jaxtyping import Float32

from pipeline.body import load_smpl
from pipeline.body.gendered_skel import load_skels
from pipeline.fit import SmplToSkel
from pipeline.image.camera import FOCAL
from pipeline.labelling.predictor import Guess
from pipeline.labelling.rows_by_gender import rows_by_gender
from pipeline.runtime.config import BodyConfig
from schemas.camera import CameraSource
from schemas.gender import Gender, GenderChoice, chosen_gender
from schemas.person import Photo
from schemas.skel import N_Q
from trainer.inference.known_spread import BETAS_STD, UNMEASURED_STD
from trainer.inference.posed_person import PosedPerson
from trainer.inference.smpl_predictor import NO_TURN, SmplPredictor
from trainer.network.hmr2 import Hmr2


class TwoStagePredictor:
    """`pipeline.labelling.predictor.Predictor` and `posed_person.PosesOfPhotos`, in HSMR's constant camera."""

    def __init__(self, first: SmplPredictor, second: Mapping[Gender, SmplToSkel]) -> None:
        """second: by the gender of people, one for everyone or both."""
        self._first, self._second = first, second
        self._choice: GenderChoice = "auto" if len(second) > 1 else next(iter(second))

    @classmethod
    def of(cls, network: Hmr2, device: str, body: BodyConfig) -> Self:
        """Raises BodyFileError."""
        smpl = load_smpl(body.source, device=device)
        skels = load_skels(body.source, body.gender, device, torch.float64)
        return cls(SmplPredictor(network, device), {gender: SmplToSkel(smpl, skel) for gender, skel in skels.items()})

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
            PosedPerson(q, betas, cam_t, FOCAL, NO_TURN, CameraSource.HSMR, unknown, gender)
            for (q, betas, cam_t, _), gender in zip(self._converted(photos), self._genders(photos), strict=True)
        ]

    def _converted(self, photos: Sequence[Photo]) -> list[tuple[Float32[np.ndarray, "_"], ...]]:
        """q, betas, cam_t and the standard deviation that the conversion leaves of q, of each person."""
        answers = self._first.answers(photos)
        if not len(answers.pose):
            return []
        found: dict[int, tuple[np.ndarray, ...]] = {}
        for gender, rows in rows_by_gender(self._genders(photos)):
            pose, shape = (torch.from_numpy(values[rows]) for values in (answers.pose, answers.betas))
            with torch.inference_mode(False), torch.no_grad():
                fit = self._second[gender].fit(pose, shape)
            q, betas, trans, q_std = (x.float().cpu().numpy() for x in (fit.q, fit.betas, fit.trans, fit.q_std))
            found |= zip(rows.tolist(), zip(q, betas, answers.cam_t[rows] + trans, q_std, strict=True), strict=True)
        return [found[row] for row in range(len(answers.pose))]

    def _genders(self, photos: Sequence[Photo]) -> list[Gender]:
        return [chosen_gender(self._choice, person.gender) for photo in photos for person in photo.people]
