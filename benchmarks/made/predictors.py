"""Networks of stated quality: what they say of made people whose truth is known, and how far they claim to be off."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pipeline.labelling.predictor import Guess
from schemas.person import PersonId, Photo
from schemas.skel import N_BETAS, N_Q, Q_NAMES

Rows = Mapping[PersonId, Mapping[str, Any]]
"""Columns q, betas, cam_t and focal of people, by name."""

CLAIMED: Final = 0.05  # rad, by those who do not know better
_BENT: Final = 0.2  # rad
_HINGES: Final = [i for i, name in enumerate(Q_NAMES) if "elbow" in name or "knee" in name]
_ENDS: Final = [
    i for i, name in enumerate(Q_NAMES)
    if any(part in name for part in ("wrist", "pro_sup", "ankle", "subtalar", "mtp", "rotation", "twist"))
]  # fmt: skip
_LIMBS: Final = [
    [i for i, name in enumerate(Q_NAMES) if name.endswith(side) and any(part in name for part in parts)]
    for side in ("_r", "_l") for parts in (("hip", "knee", "ankle", "subtalar", "mtp"), ("elbow", "pro_sup", "wrist"))
]  # fmt: skip


@dataclass
class MadePredictor:
    """`pipeline.labelling.predictor.Predictor` of one of `KINDS`, with errors of its own in every round.

    truth: of everyone; labels: the generation that it was trained on, set by round. noise: s, rad. betas_noise:
    standard deviation of its betas, 0: it knows the shape.
    """

    kind: str
    noise: float
    truth: Rows
    seed: int
    betas_noise: float = 0.0
    round: int = 0
    labels: Rows = field(default_factory=dict)

    def predict(self, photos: Sequence[Photo]) -> list[Guess | None]:
        """One a person; None for people whom it would have to repeat a label of, and who have none."""
        return [self._guess(person.id) for photo in photos for person in photo.people]

    def _guess(self, person: PersonId) -> Guess | None:
        rng = np.random.default_rng([self.seed, self.round, *"/".join(map(str, person)).encode()])
        repeats = self.kind in _REPEATING
        known = (self.labels if repeats else self.truth).get(person)
        if known is None:
            return None
        q, betas = (np.asarray(known[name], np.float64) for name in ("q", "betas"))
        away, claimed = KINDS[self.kind](rng, self.noise)
        betas_claimed = np.full(N_BETAS, CLAIMED if repeats else self.betas_noise)
        betas = betas if repeats else betas + self.betas_noise * rng.normal(size=N_BETAS)
        place = np.asarray(known["cam_t"], np.float32)
        q, betas, claimed, betas_claimed = (x.astype(np.float32) for x in (q + away, betas, claimed, betas_claimed))
        return Guess(q, betas, place, claimed, betas_claimed, float(known["focal"]))


Array = NDArray[np.float64]
Errors = Callable[[np.random.Generator, float], tuple[Float[np.ndarray, "46"], Float[np.ndarray, "46"]]]
"""(rng, s) -> errors of q and what is claimed of them, rad."""


def _honest(rng: np.random.Generator, noise: float) -> tuple[Array, Array]:
    return noise * rng.normal(size=N_Q), np.full(N_Q, noise)


def _dishonest(rng: np.random.Generator, noise: float) -> tuple[Array, Array]:
    return noise * rng.normal(size=N_Q), np.full(N_Q, CLAIMED)


def _biased(rng: np.random.Generator, noise: float) -> tuple[Array, Array]:
    away, claimed = _honest(rng, noise)
    away[_HINGES] += _BENT
    claimed[_HINGES] = np.hypot(_BENT, noise)
    return away, claimed


def _by_joint(rng: np.random.Generator, noise: float) -> tuple[Array, Array]:
    """Twice as far off at wrists, ankles and twists as elsewhere; half of a limb's variance is common to its joints."""
    std = np.full(N_Q, noise)
    std[_ENDS] = 2 * noise
    away = rng.normal(size=N_Q)
    for limb in _LIMBS:
        away[limb] = np.sqrt(0.5) * away[limb] + np.sqrt(0.5) * rng.normal()
    return std * away, std


KINDS: Final[Mapping[str, Errors]] = {
    "truth": _honest,
    "joints": _by_joint,
    "dishonest": _dishonest,
    "biased": _biased,
    "garbage": _honest,
    "lazy": _dishonest,
    "memorised": _dishonest,
}
DEFAULT_NOISE: Final = {
    "truth": 0.1, "joints": 0.1, "dishonest": 0.2, "biased": 0.05, "garbage": 0.5, "lazy": 0.0, "memorised": 0.02,
}  # fmt: skip
_REPEATING: Final = ("lazy", "memorised")
