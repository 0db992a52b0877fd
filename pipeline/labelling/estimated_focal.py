"""The focal length of photos that nothing is known of, from how their people look (docs/camera_and_crop.md).

A person seen from near by looks otherwise than one from far away, whatever they do: that tells the focal length, a
little. So several people of one photo, or frames of one video, are fitted under a shorter, the usual and a longer lens,
each held to the mean pose and not to a label, which was made under some lens itself. What all of them say together, and
the prior over focal lengths, has its best value in between: cost(x) - lean x + (x / spread)^2, x the logarithm of the
focal length over the photo's diagonal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.fit import Anchor, Skelify
from pipeline.fit.starts.mean_pose import mean_q
from pipeline.image.camera import solve_camera
from pipeline.image.keypoint_error import enough_keypoints
from pipeline.image.refocus import refocused
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.convert import as_model, as_numpy
from pipeline.labelling.rows_by_gender import rows_by_gender
from pipeline.labelling.tracks import TrackPart
from schemas.camera import CameraSource
from schemas.gender import Gender
from schemas.skel import N_UNLIMITED

SPREAD: Final = 0.35
"""Standard deviation of the logarithm of a photo's focal length around its diagonal: most lie between 22 and 87 mm."""

_NODES: Final = (-0.5, 0.0, 0.5)
_LEAST: Final = 8
_MOST: Final = 16
"""People or frames that are asked: fewer say too little to gain on the prior, more cost more than they add."""

_LEAN: Final = 0.38
"""d cost / dx of a person at the true focal length, where it should be 0: somebody near by, seen more from one side,
can look more like the mean pose. Measured on 700 made-up people (docs/camera_and_crop.md)."""


def with_estimated_focal(
    batch: PersonBatch, parent: LabelBatch, fits: Mapping[Gender, Skelify], tracks: Sequence[TrackPart] = ()
) -> PersonBatch:
    """The people whose lens is a mere guess, under what an earlier round estimated, else under an estimate of today.

    fits: on the body of each gender that is met; people of one photo share its lens, whatever body each of them has.
    """
    guessed = batch.camera_source == CameraSource.PRIOR
    # the published objective states no likelihood
    if not guessed.any() or any(skelify.config.objective != "robust" for skelify in fits.values()):
        return batch
    earlier = guessed & (parent.camera_source == CameraSource.ESTIMATED) & parent.has_label
    factor = np.where(earlier, parent.known_focal / batch.focal, 1.0)
    found = earlier.copy()
    asked = _asked(batch, tracks, guessed & ~earlier)
    if asked:
        chosen = [_spread_over(rows[1]) for rows in asked]
        costs = _costs(batch.take(np.concatenate(chosen)), parent.take(np.concatenate(chosen)), fits)
        ends = np.cumsum([len(rows) for rows in chosen])
        for (group, _), end, rows in zip(asked, ends, chosen, strict=True):
            factor[group] = np.exp(most_probable(costs[:, end - len(rows) : end].sum(1), len(rows)))
            found[group] = True
    return _under(batch, np.flatnonzero(found), factor[found])


def most_probable(costs: Float[np.ndarray, "3"], people: int) -> float:
    """x of the least cost(x) - lean x + (x / spread)^2, by the parabola through the nodes, and not far beyond them.

    Costs that bend downwards are taken for straight: the prior alone says then how far to go.
    """
    low, middle, high = costs
    step = _NODES[2]
    curvature = max(0.0, (low + high - 2 * middle) / step**2) + 2 / SPREAD**2
    slope = (high - low) / (2 * step) - _LEAN * people
    return float(np.clip(-slope / curvature, -1.5 * step, 1.5 * step))


def _asked(
    batch: PersonBatch, tracks: Sequence[TrackPart], unknown: Bool[np.ndarray, "N"]
) -> list[tuple[Integer[np.ndarray, "M"], Integer[np.ndarray, "K"]]]:
    """Who was taken with one lens, and those of them who tell something new: photos and videos with at least eight.

    Of a video, one frame a second: what is wrong with its keypoints stays for about as long (docs/keypoint_noise.md).
    """
    usable = as_numpy(enough_keypoints(torch.as_tensor(batch.keypoints)))
    lens: dict[object, list[int]] = {}
    for part in tracks:
        seconds = np.floor(part.times[usable[part.rows]] - part.times[0])
        rows = part.rows[usable[part.rows]]
        usable[part.rows] = False
        usable[rows[np.unique(seconds, return_index=True)[1]]] = True
    filmed = {int(row): number for number, part in enumerate(tracks) for row in part.rows}
    for row in np.flatnonzero(unknown):
        who = batch.ids[row]
        lens.setdefault(filmed.get(int(row), (who.dataset, who.shard, who.key)), []).append(int(row))
    groups = [np.array(rows) for rows in lens.values()]
    return [(rows, rows[usable[rows]]) for rows in groups if usable[rows].sum() >= _LEAST]


def _spread_over(rows: Integer[np.ndarray, "K"]) -> Integer[np.ndarray, "M"]:
    """At most as many as are asked, evenly."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(int))]


def _costs(batch: PersonBatch, parent: LabelBatch, fits: Mapping[Gender, Skelify]) -> Float[np.ndarray, "3 K"]:
    """What the best fit of each person costs under each of the lenses, in squared standard deviations."""
    costs = np.zeros((len(_NODES), len(batch)))
    for gender, rows in rows_by_gender(batch.gender):
        costs[:, rows] = _costs_of(batch.take(rows), parent.take(rows), fits[gender])
    return costs


def _costs_of(batch: PersonBatch, parent: LabelBatch, skelify: Skelify) -> Float[np.ndarray, "3 K"]:
    """The same of people who have the body of one fit."""
    skel, (q, betas) = skelify.model, _starts(batch, parent, skelify)
    held = q.clone()
    held[:, N_UNLIMITED:] = mean_q().to(q)[N_UNLIMITED:]
    anchor = Anchor(held, torch.ones(len(q), dtype=torch.bool, device=q.device), torch.zeros_like(betas))
    costs = []
    for node in _NODES:
        seen = _under(batch, np.arange(len(batch)), np.full(len(batch), np.exp(node)))
        keypoints, focal = (as_model(skel, x) for x in (seen.keypoints, seen.focal))
        cam_t = solve_camera(skel.keypoints(q, betas), keypoints, focal)
        costs.append(as_numpy(skelify.fit(keypoints, q, betas, cam_t, anchor, focal=focal).cost))
    return np.nan_to_num(np.stack(costs), nan=0.0)


def _starts(batch: PersonBatch, parent: LabelBatch, skelify: Skelify) -> tuple[Tensor, Tensor]:
    """Poses to start from: the label, or a fit from the mean pose under the usual lens."""
    skel = skelify.model
    q, betas = as_model(skel, parent.q), as_model(skel, parent.betas)
    new = torch.as_tensor(~parent.has_label, device=q.device)
    if bool(new.any()):
        first = skelify.fit_from_mean_pose(as_model(skel, batch.keypoints)[new], focal=as_model(skel, batch.focal)[new])
        q, betas = q.index_put((new,), first.q), betas.index_put((new,), first.betas)
    return q, betas


def _under(batch: PersonBatch, rows: Integer[np.ndarray, "M"], factor: Float[np.ndarray, "M"]) -> PersonBatch:
    """The batch with some of its people seen through lenses `factor` times as long, which are estimates."""
    rotation = Rotation.from_rotvec(batch.camera_turn[rows].astype(np.float64)).as_matrix()
    seen = refocused(batch.keypoints[rows].astype(np.float64), batch.focal[rows], rotation, factor)
    keypoints, focal, turn = batch.keypoints.copy(), batch.focal.copy(), batch.camera_turn.copy()
    source = batch.camera_source.copy()
    keypoints[rows], focal[rows] = seen.keypoints, seen.focal
    turn[rows], source[rows] = Rotation.from_matrix(seen.rotation).as_rotvec(), CameraSource.ESTIMATED
    return replace(batch, keypoints=keypoints, focal=focal, camera_turn=turn, camera_source=source)
