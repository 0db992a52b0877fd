"""`prior`: the energy of the pose prior on poses it has not seen, and what its modes cover."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.made.truth_people import truth_people
from benchmarks.report import Options, say, table
from pipeline.body import load_skel, load_smpl
from pipeline.demo_set.poses import KEY_POSES, key_pose
from pipeline.fit import Skelify, SmplToSkel
from pipeline.fit.prior import PosePrior
from pipeline.fit.prior.mixture_file import read_mixture
from pipeline.numerics.error_metrics import mpjpe_mm
from pipeline.shards import list_shards, read_shard
from schemas.person import Photo

_PEOPLE, _SEED = 512, 17
_FITTED, _WRONG_MM = 192, 200.0


def run(options: Options) -> None:
    """Print energies by kind of pose, then the way from hand-made key poses to the nearest mode."""
    prior = PosePrior.load()
    table(
        ("poses", "count", "energy p10", "median", "p90", "broad alone, median", "mostly broad"),
        [_energies(prior, name, q) for name, q in _kinds(options).items()],
    )
    say("energy: -log p, nats; mostly broad: share of poses that the broad Gaussian explains best.")
    table(("key pose", "to the nearest mode, rad", "to the mean pose, rad"), _coverage(prior))
    say("rad: root mean square over the angles that motion tells; the nearest of the modes.")


def _kinds(options: Options) -> dict[str, Tensor]:
    skel = load_skel(dtype=torch.float64)
    people = truth_people(skel, load_smpl(), 32 if options.quick else _PEOPLE, seed=_SEED)
    truth, start = people.sighted.truth.q, people.sighted.start.q
    kinds = {
        "truth: standard": truth[~people.extreme],
        "truth: extreme": truth[people.extreme],
        "their pseudo-labels: standard": start[~people.extreme],
        "their pseudo-labels: extreme": start[people.extreme],
    }
    found = Skelify(skel).fit_from_mean_pose(people.sighted.keypoints[:_FITTED])
    meant = skel.joints(truth[:_FITTED], people.sighted.truth.betas[:_FITTED])
    error = mpjpe_mm(skel.joints(found.q, found.betas), meant, root=0)
    kinds["fits from no label, within 200 mm"] = found.q[error <= _WRONG_MM]
    kinds["fits from no label, over 200 mm off"] = found.q[error > _WRONG_MM]
    if options.shared:
        kinds["real photos: converted SMPL poses"] = _real_photos(options.shared)
    return kinds


def _real_photos(shared: Path) -> Tensor:
    photos = [
        item for shard in list_shards(str(shared / "data" / "real_photos" / "*.tar")) for item in read_shard(shard)
    ]
    people = [person for photo in photos if isinstance(photo, Photo) for person in photo.people]
    poses = [person.smpl.pose for person in people if person.smpl is not None]
    pose = torch.as_tensor(np.array(poses)).double()
    return SmplToSkel(load_smpl(), load_skel(dtype=torch.float64)).fit(pose, pose.new_zeros(len(pose), 10)).q


def _energies(prior: PosePrior, name: str, q: Tensor) -> list[str]:
    if not len(q):
        return [name, "0", *[""] * 5]
    energy, broad = prior.energy(q), prior.broad_energy(q)
    low, middle, high = (f"{float(energy.quantile(share)):.1f}" for share in (0.1, 0.5, 0.9))
    mostly = (prior.responsibilities(q)[:, 0] > 0.5).double().mean()
    return [name, str(len(q)), low, middle, high, f"{float(broad.median()):.1f}", f"{float(mostly):.0%}"]


def _coverage(prior: PosePrior) -> list[list[str]]:
    told, modes, rows = read_mixture().told, prior.modes(), []
    for name in KEY_POSES:
        q = torch.as_tensor(key_pose(name)[0])
        away = (torch.cat([modes, prior.mean[:1]]) - q)[:, told].square().mean(1).sqrt()
        rows.append([name, f"{float(away[:-1].min()):.2f}", f"{float(away[-1]):.2f}"])
    return rows
