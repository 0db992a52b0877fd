"""Build the keypoint noise: `python -m tools.keypoint_noise.build --footage DIR`.

DIR holds a truth.npz as docs/real_truth.md describes it. One body is fitted to all views of each moment; what its
keypoints and the detections differ by is the noise (docs/keypoint_noise.md). `--halves` prints what the first half of
the frames says beside what the second does, and writes nothing.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.footage.all_views import AllViews, fit_all_views
from benchmarks.footage.measured import read_footage
from pipeline.body import Skel, load_skel
from pipeline.fit import SkelifyConfig
from pipeline.fit.views.multi_view import MultiViewFit
from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_noise import NOISE_FILE
from schemas.keypoints import KEYPOINT_NAMES, TWINS
from tools.keypoint_noise.residuals import POINTS, Residuals, residuals
from tools.keypoint_noise.statistics import (
    PointNoise,
    body_agreement,
    by_confidence,
    crop_agreement,
    point_noise,
    shares,
)

FRAMES: Final = 60
# One noise for all keypoints, wide enough to let no keypoint decide what the noise of the others is.
FITTED_WITH: Final = SkelifyConfig(
    noise="uniform", keypoint_noise=0.016, kernel_scale=0.05, unlabelled_orientation_std=3.0, starts="mean_pose"
)
_EDGES = 0.3, 0.4, 0.5, 0.6, 0.7, 1.0


def measured(footage: Path, skel: Skel) -> Residuals:
    """Residuals, each as large as it would be had the fit not been drawn to its own detection."""
    together = fit_all_views(read_footage(footage, FRAMES), skel, FITTED_WITH)
    found, told = residuals(skel, together), _unknowns_told(skel, together)
    numbers = 2 * np.bincount(found.keypoint, minlength=POINTS)
    factor = np.sqrt(numbers / np.maximum(numbers - told, 1.0))
    return replace(found, away=found.away * factor[found.keypoint, None])


def _unknowns_told(skel: Skel, together: AllViews) -> np.ndarray:
    """How many unknowns each keypoint's detections determine (25,), all moments together: what trace(N^-1 N_data) of
    the normal matrices loses without it.
    """
    fit, (views, found) = MultiViewFit(skel, FITTED_WITH), together
    x = torch.cat([found.q, found.betas, found.trans], 1)
    whole = fit.linearise(x, views, FITTED_WITH.kernel_scale).normal
    told = []
    for keypoint in range(POINTS):
        others = views.keypoints.clone()
        others[:, :, keypoint] = 0
        without = fit.linearise(x, views._replace(keypoints=others), FITTED_WITH.kernel_scale).normal
        told.append(float(torch.linalg.solve(whole, whole - without).diagonal(dim1=1, dim2=2).sum()))
    return np.array(told)


def table(of: Residuals) -> list[dict[str, Any]]:
    """One row a keypoint; those that nobody saw get the mean square of the others."""
    own = [point_noise(of, k) for k in range(POINTS)]
    known = [x for x in own if x is not None]
    rms = float(np.sqrt(np.mean([x.std**2 for x in known])))
    unseen = PointNoise(0, rms, np.zeros(3), 0.0, rms)
    sources = [own[TWINS.get(k, k)] if TWINS.get(k, k) < POINTS else None for k in range(len(KEYPOINT_NAMES))]
    return [_row(name, x or unseen) for name, x in zip(KEYPOINT_NAMES, sources, strict=True)]


def _row(name: str, of: PointNoise) -> dict[str, Any]:
    return {
        "name": name,
        "points": of.points,
        "std": round(of.std, 5),
        "offset": [round(float(x), 4) + 0.0 for x in of.offset],
        "agreed": round(of.agreed, 2),
        "beside_offset": round(of.beside_offset, 5),
    }


def summary(of: Residuals) -> dict[str, Any]:
    """What is no number of one keypoint."""
    return {
        "detections": len(of.keypoint),
        "agreed_in_crop": round(crop_agreement(of), 3),
        "agreed_in_trunk_frame": round(body_agreement(of), 3),
        **{name: round(value, 4) for name, value in shares(of).items()},
        "rms_by_confidence": {name: round(x, 5) for name, x in by_confidence(of, _EDGES).items()},
    }


def _write(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """A line a keypoint."""
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    text = f'{{\n"about": {json.dumps(about)},\n"keypoints": [\n{lines}\n]\n}}\n'
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _print_halves(of: Residuals) -> None:
    first = of.moment < FRAMES // 2
    halves = [table(of.rows(first)), table(of.rows(~first))]
    for a, b in list(zip(*halves, strict=True))[:POINTS]:
        stds = " ".join(f"{CROP_PX * row['std']:5.2f}" for row in (a, b))
        print(f"{a['name']:12} std px {stds}   offset {a['offset']} {b['offset']}   agreed {a['agreed']} {b['agreed']}")
    for part in (first, ~first):
        print(summary(of.rows(part)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage", type=Path, required=True, help="folder with a truth.npz")
    parser.add_argument("--output", type=Path, default=NOISE_FILE)
    parser.add_argument("--halves", action="store_true", help="print both halves of the frames, write nothing")
    arguments = parser.parse_args()
    found = measured(arguments.footage, load_skel(dtype=torch.float64))
    if arguments.halves:
        _print_halves(found)
        return
    _write(arguments.output, table(found), summary(found))
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
