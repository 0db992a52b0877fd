"""Predictions that fits start from. The job that starts a round hands it a predictor: no network is known here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from jaxtyping import Bool, Float32, Float64

from pipeline.image.camera import FOCAL
from schemas.person import Photo
from schemas.skel import N_BETAS, N_Q


class Guess(NamedTuple):
    """The prediction for one person: q (46,) rad, betas (10,), cam_t (3,) m, in the camera of the person's crop with
    this focal length, crop units; q_std (46,) rad and betas_std (10,): how far off this one may be, one standard
    deviation.
    """

    q: Float32[np.ndarray, "46"]
    betas: Float32[np.ndarray, "10"]
    cam_t: Float32[np.ndarray, "3"]
    q_std: Float32[np.ndarray, "46"]
    betas_std: Float32[np.ndarray, "10"]
    focal: float = FOCAL


class Predictor(Protocol):
    """A loaded network. The same photo gives the same answer, whatever else is in the call (to rounding)."""

    def predict(self, photos: Sequence[Photo]) -> Sequence[Guess | None]:
        """One guess per person: the people of the first photo in their order, then those of the next; None where there
        is nothing to say.
        """
        ...


class PredictorSource(Protocol):
    """Where actors get the predictor from; small and picklable. `uri` and `digest` go into run_id and lineage."""

    @property
    def uri(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def load(self, device: str) -> Predictor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """Guesses of N people; rows are zero where there is none, or where it was not finite: `available` (N,) tells."""

    q: Float32[np.ndarray, "N 46"]
    betas: Float32[np.ndarray, "N 10"]
    cam_t: Float32[np.ndarray, "N 3"]
    q_std: Float32[np.ndarray, "N 46"]
    betas_std: Float32[np.ndarray, "N 10"]
    focal: Float64[np.ndarray, "N"]
    available: Bool[np.ndarray, "N"]

    @classmethod
    def from_guesses(cls, guesses: Sequence[Guess | None]) -> Self:
        """Stack the guesses of N people. One that is not finite, or lies behind the camera, is as good as none."""
        widths = {"q": N_Q, "betas": N_BETAS, "cam_t": 3, "q_std": N_Q, "betas_std": N_BETAS}
        vectors = {name: np.zeros((len(guesses), width), np.float32) for name, width in widths.items()}
        focal, available = np.full(len(guesses), FOCAL), np.zeros(len(guesses), dtype=bool)
        for i, guess in enumerate(guesses):
            if guess is not None and all(np.isfinite(part).all() for part in guess) and guess.cam_t[2] > 0:
                for name, rows in vectors.items():
                    rows[i] = getattr(guess, name)
                focal[i], available[i] = guess.focal, True
        return cls(**vectors, focal=focal, available=available)
