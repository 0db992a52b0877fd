"""Build the pose prior: `python -m tools.pose_prior.build --mocap DIR --cmu FILE`.

DIR holds clips of SMPL poses (`NAME.npz` with `poses` (T, 72)), FILE the CMU clips as exponential maps: see
pipeline/fit/prior/PROVENANCE.md. `--choose` prints the held-out log likelihood of other settings instead.
"""

import argparse
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pipeline.body import load_skel, load_smpl
from pipeline.fit.prior.mixture_file import PRIOR_FILE, StoredMixture, write_mixture
from tools.pose_prior.angles import TOLD, broad_belief, prior_mirror
from tools.pose_prior.clips import Clip, cmu_clips, mocap_clips, poses
from tools.pose_prior.mixture import Mirror, Mixture, MixtureConfig, fit_mixture
from tools.pose_prior.thinning import distinct

RADIUS: Final = 0.5  # rad over the 27 angles: 0.1 rad an angle
CHOSEN: Final = MixtureConfig(pairs=40)


@dataclass(frozen=True)
class Motion:
    """The 27 told angles of poses no two of which are alike: to learn from, and held out, by source."""

    training: Tensor
    held_out: dict[str, Tensor]


def convert(mocap: Path, cmu: Path) -> tuple[list[Clip], list[Clip]]:
    """Both sources as SKEL poses of the open body."""
    skel = load_skel(dtype=torch.float64)
    return mocap_clips(mocap, skel, load_smpl()), cmu_clips(cmu, skel)


def thinned(mocap: list[Clip], cmu: list[Clip]) -> Motion:
    """Learning sees both sources as one; the held-out poses are thinned alike."""
    held_out = {name: _distinct(poses(clips, held_out=True)) for name, clips in (("mocap", mocap), ("cmu", cmu))}
    return Motion(_distinct(poses([*mocap, *cmu], held_out=False)), held_out)


def learn(motion: Motion, config: MixtureConfig) -> Mixture:
    """The mixture over the told angles."""
    belief, (source, sign) = broad_belief(), prior_mirror()
    place = {q: index for index, q in enumerate(TOLD)}
    mirror = Mirror(torch.tensor([place[int(source[q])] for q in TOLD]), torch.as_tensor(sign)[TOLD])
    return fit_mixture(motion.training, belief.mean[TOLD], belief.std[TOLD], mirror, config)


def likelihoods(motion: Motion, mixture: Mixture) -> dict[str, float]:
    """Mean log likelihood per pose of the told angles, nats: training and each held-out source; `broad`: without
    anything learned.
    """
    broad = torch.distributions.Normal(mixture.broad_mean, mixture.broad_std)
    found = {"training": float(mixture.log_density(motion.training).mean())}
    for name, x in motion.held_out.items():
        found[name] = float(mixture.log_density(x).mean())
        found[f"{name}, broad"] = float(broad.log_prob(x).sum(1).mean())
    return found


def stored(mixture: Mixture) -> StoredMixture:
    """What goes into the file."""
    belief, (source, sign) = broad_belief(), prior_mirror()
    return StoredMixture(
        broad_weight=torch.tensor(mixture.broad_weight, dtype=torch.float64),
        broad_mean=belief.mean,
        broad_std=belief.std,
        weight=mixture.weight,
        mean=mixture.mean,
        covariance=mixture.cov,
        told=torch.tensor(TOLD),
        mirror_source=torch.as_tensor(source),
        mirror_sign=torch.as_tensor(sign),
    )


def settings() -> Iterator[MixtureConfig]:
    """The choices of which the held-out likelihood decides."""
    for pairs, share, noise, widening in product((1, 8, 24, 40), (0.7, 1.0, 1.4), (0.05, 0.1), (1.0, 1.25, 1.5, 2.0)):
        yield replace(CHOSEN, pairs=pairs, prior_share=share, noise=noise, widening=widening, iterations=25)


def _distinct(q: Tensor) -> Tensor:
    told = q[:, TOLD]
    return told[distinct(told, RADIUS)]


def _print_choices(motion: Motion) -> None:
    for config in settings():
        found = [likelihoods(motion, learn(motion, replace(config, seed=seed))) for seed in range(2)]
        mean = {name: sum(x[name] for x in found) / len(found) for name in found[0]}
        setting = (
            f"{config.pairs:3} pairs, share {config.prior_share}, noise {config.noise}, widening {config.widening}"
        )
        print(setting, {name: round(value, 2) for name, value in mean.items()}, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of SMPL clips")
    parser.add_argument("--cmu", type=Path, required=True, help="file of CMU clips")
    parser.add_argument("--output", type=Path, default=PRIOR_FILE)
    parser.add_argument("--choose", action="store_true", help="print the likelihoods of other settings, write nothing")
    arguments = parser.parse_args()
    motion = thinned(*convert(arguments.mocap, arguments.cmu))
    if arguments.choose:
        _print_choices(motion)
        return
    mixture = learn(motion, CHOSEN)
    temporary = arguments.output.with_suffix(".tmp.npz")
    write_mixture(stored(mixture), temporary)
    os.replace(temporary, arguments.output)
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e3:.0f} kB, sha256 {digest}")
    counts = {"training": len(motion.training)} | {name: len(x) for name, x in motion.held_out.items()}
    print(f"poses after thinning: {counts}")
    for name, value in likelihoods(motion, mixture).items():
        print(f"log likelihood, {name}: {value:.2f}")


if __name__ == "__main__":
    main()
