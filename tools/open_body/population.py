"""Ten independent traits of a person and the MakeHuman targets they drive.

A trait is a standard-normal number that moves MakeHuman sliders; they stop at their ends, which keeps people sane.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tools.open_body.makehuman import Assets, load_target

# Large traits first: the shape space makes each component orthogonal to those before it.
TRAITS = (
    "stature", "leg_length", "arm_length", "sex", "weight", "shoulder_width", "extremities", "muscle", "belly", "age",
)  # fmt: skip
GENDERS, AGES = ("male", "female"), ("young", "old")
LEVELS = ("min", "average", "max")
RACES = ("african", "asian", "caucasian")
# MakeHuman slider position of the mean person and its change at +3 sigma (one sigma of stature is 7 cm). Sliders stop
# at 0 and 1: the ends of weight, sex and muscle are reached at 1.2 to 1.5 sigma, as common as in a real population.
SLIDERS = {"stature": (0.4, 0.2), "weight": (0.5, 1.25), "sex": (0.5, 1.0), "muscle": (0.5, 1.25), "age": (0.25, 0.5)}
HEAD_AT_3_SIGMA = 0.6

# Local targets: full effect at +3 sigma of the first list, at -3 sigma of the second, with these coefficients.
LOCAL_TARGETS = {
    "leg_length": (
        {"legs/upperlegs-height-incr": 0.8, "legs/lowerlegs-height-incr": 0.8, "torso/torso-scale-vert-decr": 0.5},
        {"legs/upperlegs-height-decr": 0.8, "legs/lowerlegs-height-decr": 0.8, "torso/torso-scale-vert-incr": 0.5},
    ),
    "arm_length": (
        {"arms/measure-upperarm-length-incr": 0.8, "arms/measure-lowerarm-length-incr": 0.8},
        {"arms/measure-upperarm-length-decr": 0.8, "arms/measure-lowerarm-length-decr": 0.8},
    ),
    "shoulder_width": (
        {"torso/measure-shoulder-dist-incr": 1.0, "torso/torso-vshape-incr": 0.7, "hip/hip-scale-horiz-decr": 0.6},
        {"torso/measure-shoulder-dist-decr": 1.0, "torso/torso-vshape-decr": 0.7, "hip/hip-scale-horiz-incr": 0.6},
    ),
    "belly": (
        {"stomach/stomach-pregnant-incr": 1.0, "torso/measure-waist-circ-incr": 1.0, "stomach/stomach-tone-decr": 1.0},
        {"stomach/stomach-pregnant-decr": 1.0, "torso/measure-waist-circ-decr": 0.6, "stomach/stomach-tone-incr": 1.0},
    ),
    "extremities": (
        {f"{part}-incr": HEAD_AT_3_SIGMA for part in (
            "head/head-scale-vert", "head/head-scale-horiz", "head/head-scale-depth", "hands/l-hand-scale",
            "hands/r-hand-scale", "feet/l-foot-scale", "feet/r-foot-scale")},
        {f"{part}-decr": HEAD_AT_3_SIGMA for part in (
            "head/head-scale-vert", "head/head-scale-horiz", "head/head-scale-depth", "hands/l-hand-scale",
            "hands/r-hand-scale", "feet/l-foot-scale", "feet/r-foot-scale")},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Population:
    """Linear target space of MakeHuman: targets (T, N, 3) m and their names; `base` (N, 3) m is the base mesh."""

    base: np.ndarray
    names: list[str]
    targets: np.ndarray

    def vertices(self, traits: np.ndarray) -> np.ndarray:
        """Base-mesh vertices (N, 3) m, in MakeHuman's own pose, of the person with these traits (10,)."""
        weights = target_weights(dict(zip(TRAITS, traits, strict=True)))
        coefficients = np.array([weights.get(name, 0.0) for name in self.names])
        return self.base + np.tensordot(coefficients, self.targets, 1)


def load_population(assets: Assets, base: np.ndarray) -> Population:
    """All targets that any person of the population uses."""
    corners = [dict(zip(TRAITS, signs, strict=True)) for signs in product((-1.0, 1.0), repeat=len(TRAITS))]
    names = sorted({name for traits in corners for name in target_weights(traits)})
    return Population(base, names, np.stack([load_target(assets, n, len(base)) for n in names]))


def sample_traits(count: int, seed: int) -> np.ndarray:
    """Standard-normal traits (count, 10) cut at 2.5, in antithetic pairs so that the sample mean is exactly zero."""
    half = np.random.default_rng(seed).standard_normal((count // 2, len(TRAITS))).clip(-2.5, 2.5)
    return np.concatenate([half, -half])


def target_weights(traits: dict[str, float]) -> dict[str, float]:
    """Coefficient of every target that the person uses."""
    slider = {name: np.clip(mean + change * traits[name] / 3, 0, 1) for name, (mean, change) in SLIDERS.items()}
    return _macro_weights(slider) | _local_weights(traits)


def _local_weights(traits: dict[str, float]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for trait, (more, less) in LOCAL_TARGETS.items():
        amount = traits[trait] / 3
        for name, scale in (more if amount > 0 else less).items():
            weights[name] = abs(amount) * scale
    return weights


def _macro_weights(slider: dict[str, float]) -> dict[str, float]:
    """MakeHuman's macro targets: products of piecewise linear slider weights, races mixed equally."""
    levels = {trait: _level_weights(slider[trait]) for trait in ("muscle", "weight")}
    gender = {"male": 1 - slider["sex"], "female": slider["sex"]}
    age = {"young": 1 - slider["age"], "old": slider["age"]}
    height = {"minheight": 1 - slider["stature"], "maxheight": slider["stature"]}
    folder, weights = "macrodetails", {}
    for g, a in product(GENDERS, AGES):
        base = gender[g] * age[a]
        weights |= {f"{folder}/{race}-{g}-{a}": base / len(RACES) for race in RACES}
        for m, w in product(LEVELS, LEVELS):
            part = base * levels["muscle"][m] * levels["weight"][w]
            build = f"{g}-{a}-{m}muscle-{w}weight"
            weights[f"{folder}/universal-{build}"] = part
            weights |= {f"{folder}/height/{build}-{h}": part * value for h, value in height.items()}
    return {name: value for name, value in weights.items() if value > 0}


def _level_weights(value: float) -> dict[str, float]:
    """Piecewise linear weights of the minimum, average and maximum of a slider in [0, 1]."""
    return {"min": max(0.0, 1 - 2 * value), "average": 1 - abs(2 * value - 1), "max": max(0.0, 2 * value - 1)}
