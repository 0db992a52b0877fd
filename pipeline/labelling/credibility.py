"""How far a network's prediction for one person is to be believed, whatever it claims (docs/evidence.md).

Two things spoil a prediction as evidence, and both show in the 43 angles of the person at hand:

- It repeats the label that the network was trained on. An independent guess p of a label l differs from it by
  E (p - l)^2 = s_p^2 + s_l^2. Who is far nearer repeats it, and proves nothing.
- It is further from what all other evidence says than both allow: then its claim is widened until it is not.

Both are judged by the median over the angles, which a flipped limb does not move. The pelvis takes no part.
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body.rotations import wrapped
from schemas.skel import N_UNLIMITED

_MEDIAN: Final = 0.4549
"""Of a chi-squared variable of one degree of freedom."""

_REPEATED: Final = 0.1
"""Ratio of found to expected squared difference up to which nothing of a prediction counts."""

_INDEPENDENT: Final = 0.4
"""The ratio from which all of it counts."""

_SURPRISING: Final = 1.8
"""The ratio that an honest prediction seldom exceeds: one in thirty, were the 43 angles' errors independent."""

_SETTLED: Final = 1.0
"""The ratio that a claim which is too narrow is widened to."""

_WIDEST: Final = 30.0  # times what was claimed
_HALVINGS: Final = 20


def independence(
    predicted: Float[Tensor, "B 46"],
    predicted_std: Float[Tensor, "B 46"],
    label: Float[Tensor, "B 46"],
    label_std: Float[Tensor, "B 46"],
) -> Float[Tensor, "B"]:
    """Share in [0, 1] of the prediction's precision that is news to the label it may have been trained on."""
    found = _ratio(_apart(predicted, label), predicted_std, label_std)
    return ((found - _REPEATED) / (_INDEPENDENT - _REPEATED)).clamp(0, 1)


def widening(
    predicted: Float[Tensor, "B 46"],
    predicted_std: Float[Tensor, "B 46"],
    others: Float[Tensor, "B 46"],
    others_std: Float[Tensor, "B 46"],
) -> Float[Tensor, "B"]:
    """Factor >= 1 of predicted_std: 1 where the prediction and all other evidence agree as well as they should, else
    what their difference asks for.
    """
    apart = _apart(predicted, others)
    low, high = torch.zeros_like(apart[:, 0]), torch.full_like(apart[:, 0], math.log(_WIDEST))
    surprised = _ratio(apart, predicted_std, others_std) > _SURPRISING
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_narrow = _ratio(apart, predicted_std * middle.exp()[:, None], others_std) > _SETTLED
        low, high = torch.where(too_narrow, middle, low), torch.where(too_narrow, high, middle)
    return torch.where(surprised, high.exp(), torch.ones_like(high))


def _ratio(apart: Tensor, a_std: Tensor, b_std: Tensor) -> Float[Tensor, "B"]:
    """Squared difference over what two independent guesses would have: 1 is what to expect."""
    expected = (a_std.square() + b_std.square())[:, N_UNLIMITED:].clamp_min(1e-12)
    return (apart.square() / expected).median(1).values / _MEDIAN


def _apart(a: Tensor, b: Tensor) -> Float[Tensor, "B 43"]:
    """Differences of the angles but the pelvis's, the short way round."""
    return wrapped(a - b)[:, N_UNLIMITED:]
