"""How much a label's joints and shape count in the parameter losses, from what its round says of their certainty."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from schemas.skel import DOFS, N_JOINTS, N_UNLIMITED, q_limits

_LIMIT_TOLERANCE: Final = 0.01  # rad; a label is held to its limits in float32
_JOINT_OF_Q: Final = np.array([dof.joint for dof in DOFS])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelWeightConfig:
    """enabled=False: every label counts in full.

    q_std_half: rad; a joint whose angles are known to this standard deviation counts half. poor_fit: factor for labels
    whose SMPL mesh SKEL could not follow (`schemas.labels.is_poor_fit`).
    """

    enabled: bool = True
    q_std_half: float = 0.5
    poor_fit: float = 0.3

    def __post_init__(self) -> None:
        if self.q_std_half <= 0:
            raise ValueError(f"weights.q_std_half={self.q_std_half}: a positive number of rad expected.")
        if not 0 <= self.poor_fit <= 1:
            raise ValueError(f"weights.poor_fit={self.poor_fit}: a factor in [0, 1] expected.")


def joint_weights(
    config: LabelWeightConfig, q_std: Float32[np.ndarray, "B 46"], poor_fit: Bool[np.ndarray, "B"]
) -> Float32[np.ndarray, "B 24"]:
    """(B, 24): 1 / (1 + (s / q_std_half)^2), s the root mean square of q_std (B, 46) over the joint's angles in rad,
    times the factor of poor fits (B,).
    """
    if not config.enabled:
        return np.ones((len(q_std), N_JOINTS), np.float32)
    variance = np.zeros((len(q_std), N_JOINTS))
    np.add.at(variance.T, _JOINT_OF_Q, np.square(q_std, dtype=np.float64).T)
    variance /= np.bincount(_JOINT_OF_Q, minlength=N_JOINTS)
    certainty = 1 / (1 + variance / config.q_std_half**2)
    return (certainty * _factor(config, poor_fit)[:, None]).astype(np.float32)


def betas_weights(config: LabelWeightConfig, poor_fit: Bool[np.ndarray, "B"]) -> Float32[np.ndarray, "B"]:
    """(B,): the factor of poor fits; the tables hold no standard deviation of the shape."""
    if not config.enabled:
        return np.ones(len(poor_fit), np.float32)
    return _factor(config, poor_fit).astype(np.float32)


def within_limits(q: Float32[np.ndarray, "B 46"]) -> Bool[np.ndarray, "B 24"]:
    """(B, 24): does each joint of q (B, 46) keep to its limits?

    A mirrored label may not: left and right limits are no mirror images (scapulae, pronation; docs/body_model.md).
    """
    low, high = q_limits()
    low[:N_UNLIMITED], high[:N_UNLIMITED] = -np.inf, np.inf
    inside = (q >= low - _LIMIT_TOLERANCE) & (q <= high + _LIMIT_TOLERANCE)
    outside = np.zeros((len(q), N_JOINTS), np.int64)
    np.add.at(outside.T, _JOINT_OF_Q, (~inside).T)
    return outside == 0


def _factor(config: LabelWeightConfig, poor_fit: Bool[np.ndarray, "B"]) -> NDArray[np.float64]:
    return np.where(poor_fit, config.poor_fit, 1.0)
