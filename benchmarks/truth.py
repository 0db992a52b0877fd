"""`truth`: how near refined labels come to the truth, by objective and by ingredient."""

from dataclasses import dataclass, replace

import torch

from benchmarks.made.people import Bodies, errors
from benchmarks.made.truth_people import TruthPeople, truth_people
from benchmarks.report import Options, say, table
from pipeline.body import Skel, load_skel, load_smpl
from pipeline.demo_set.detector import measured_errors
from pipeline.fit import Anchor, Skelify, SkelifyConfig
from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_error import usable_confidence
from schemas.skel import N_UNLIMITED

_PEOPLE, _PEOPLE_OF_ABLATION = 2048, 512
_REPORTED_SEED = 17  # settings are chosen on the people of seed 7
_GROSS = 0.06  # crop units (15 px) from the true place: an outlier, however it came about
_HSMR = SkelifyConfig(objective="hsmr")
_LOOSE = 1e3  # a standard deviation so large that the term is absent

_COLUMNS = (
    "", "MPJPE mm", "PA-MPJPE mm", "kp px", "|dbeta|", "|beta|", "beyond limits", "outlier weight", "inlier weight",
)  # fmt: skip


@dataclass(frozen=True)
class _Outcome:
    """errors of a result, mean |beta|, and the weight its kernel leaves to outliers and to the other keypoints."""

    error: dict[str, float]
    size: float
    outlier_weight: float | None
    inlier_weight: float | None

    def cells(self) -> list[str]:
        weights = ["" if w is None else f"{w:.2f}" for w in (self.outlier_weight, self.inlier_weight)]
        e = self.error
        return [
            f"{e['mpjpe']:.1f}", f"{e['pa_mpjpe']:.1f}", f"{e['kp_px']:.2f}", f"{e['betas']:.2f}", f"{self.size:.2f}",
            f"{e['beyond_limits']:.1%}", *weights,
        ]  # fmt: skip


def run(options: Options) -> None:
    """Print robust against hsmr, by kind of pose, then the ablation."""
    skel = load_skel(dtype=torch.float64)
    people = truth_people(skel, load_smpl(), 48 if options.quick else _PEOPLE, seed=_REPORTED_SEED)
    _compare(skel, people)
    say("As a detector sees them whose errors are those of docs/keypoint_noise.md:")
    count = 48 if options.quick else _PEOPLE_OF_ABLATION
    _compare(skel, truth_people(skel, load_smpl(), count, seed=_REPORTED_SEED, detector=measured_errors()))
    _ablate(skel, _part(people, torch.arange(len(people.extreme)) < (16 if options.quick else _PEOPLE_OF_ABLATION)))


def _compare(skel: Skel, people: TruthPeople) -> None:
    share = _gross(skel, people).double().sum() / (usable_confidence(people.sighted.keypoints) > 0).double().sum()
    say(f"{len(people.extreme)} people, {share:.1%} of their usable keypoints over {_GROSS * CROP_PX:.0f} px off.")
    kinds = {"all": torch.ones_like(people.extreme), "standard": ~people.extreme, "extreme": people.extreme}
    found = {
        "hsmr": _fit(skel, people, _HSMR),
        "robust": _fit(skel, people, SkelifyConfig()),
        "robust + 3D": _fit(skel, people, SkelifyConfig(), with_3d=True),
    }
    rows = []
    for kind, chosen in kinds.items():
        rows.append(
            [f"{kind}: start", *_outcome(skel, _part(people, chosen), people.sighted.start.rows(chosen)).cells()]
        )
        reached: dict[str, _Outcome] = {}
        for name, bodies in found.items():
            kernel = None if name == "hsmr" else SkelifyConfig().kernel_scale
            reached[name] = _outcome(skel, _part(people, chosen), bodies.rows(chosen), kernel)
            rows.append([f"{kind}: {name}", *reached[name].cells()])
        rows.append([f"{kind}: robust lower by", *_lower(reached["hsmr"], reached["robust"]), *[""] * 6])
    rows += _with_clean_keypoints(skel, people)
    table(_COLUMNS, rows)
    say("no outliers: points over 15 px off taken away by who knows the truth; what is left to the other ingredients.")
    say("robust + 3D: with the made-up detector's 3D keypoints, which four of five people have (depth 10 % off).")
    say("Target: robust at least 15 % lower than hsmr in MPJPE and PA-MPJPE, from the same start.")


def _with_clean_keypoints(skel: Skel, people: TruthPeople) -> list[list[str]]:
    keypoints = people.sighted.keypoints.clone()
    keypoints[..., 2] = torch.where(_gross(skel, people), 0.0, keypoints[..., 2])
    clean = replace(people, sighted=replace(people.sighted, keypoints=keypoints))
    rows = []
    for name, config in (("hsmr", _HSMR), ("robust", SkelifyConfig())):
        rows.append([f"no outliers: {name}", *_outcome(skel, clean, _fit(skel, clean, config)).cells()])
    return rows


def _ablate(skel: Skel, people: TruthPeople) -> None:
    default = SkelifyConfig()
    variants = {
        "default (robust)": default,
        "without robust kernel": SkelifyConfig(kernel_scale=_LOOSE, coarse_kernel_scale=_LOOSE),
        "annealed from 0.1": SkelifyConfig(coarse_kernel_scale=0.1),
        "without pose anchor": SkelifyConfig(anchor_std=_LOOSE, orientation_std=_LOOSE),
        "anchor twice as wide": SkelifyConfig(
            anchor_std=2 * default.anchor_std, orientation_std=2 * default.orientation_std
        ),
        "without shape prior": SkelifyConfig(betas_std=_LOOSE),
        "without depth prior": SkelifyConfig(depth_std=_LOOSE),
        "one noise, 2 px": SkelifyConfig(noise="uniform"),
        "one noise, 4 px": SkelifyConfig(noise="uniform", keypoint_noise=2 * default.keypoint_noise),
        "kernel half as wide": SkelifyConfig(kernel_scale=default.kernel_scale / 2),
        "hsmr objective": _HSMR,
    }
    say(f"Ablation, {len(people.extreme)} of the people:")
    rows = [["start", *_outcome(skel, people, people.sighted.start).cells()]]
    for name, config in variants.items():
        found = _fit(skel, people, config)
        kernel = None if name == "hsmr objective" else config.kernel_scale
        rows.append([name, *_outcome(skel, people, found, kernel).cells()])
    extras = {
        "shape held to the mean": _fit(skel, people, default, with_shape=False),
        "without joint limits": _fit(skel, people, default, with_limits=False),
        "with 3D keypoints": _fit(skel, people, default, with_3d=True),
    }
    for name, found in extras.items():
        rows.append([name, *_outcome(skel, people, found, default.kernel_scale).cells()])
    table(_COLUMNS, rows)


def _fit(
    skel: Skel,
    people: TruthPeople,
    config: SkelifyConfig,
    *,
    with_limits: bool = True,
    with_3d: bool = False,
    with_shape: bool = True,
) -> Bodies:
    skelify, start = Skelify(skel, config), people.sighted.start
    if not with_limits:
        # No setting turns the limits off, as no label may leave them; taken out here alone, to see their worth.
        skelify.bounds.low[N_UNLIMITED:46], skelify.bounds.high[N_UNLIMITED:46] = -torch.inf, torch.inf
    points_3d = people.keypoints_3d if with_3d else None
    held_betas = start.betas if with_shape else torch.zeros_like(start.betas)
    anchor = Anchor(start.q, torch.zeros_like(people.extreme), held_betas)
    found = skelify.fit(people.sighted.keypoints, start.q, start.betas, start.cam_t, anchor, points_3d)
    return Bodies(found.q, found.betas, found.cam_t)


def _outcome(skel: Skel, people: TruthPeople, found: Bodies, kernel_scale: float | None = None) -> _Outcome:
    error, size = errors(skel, found, people.sighted.truth), float(found.betas.abs().mean())
    if kernel_scale is None:
        return _Outcome(error, size, None, None)
    away = project(skel.keypoints(found.q, found.betas), found.cam_t) - people.sighted.keypoints[..., :2]
    weight = (kernel_scale**2 / (kernel_scale**2 + away.square().sum(-1))) ** 2
    gross, usable = _gross(skel, people), usable_confidence(people.sighted.keypoints) > 0
    return _Outcome(error, size, float(weight[gross].mean()), float(weight[usable & ~gross].mean()))


def _gross(skel: Skel, people: TruthPeople) -> torch.Tensor:
    """Usable keypoints (B, 44) that lie far from their true place: misplaced or swapped."""
    sighted = people.sighted
    true = project(skel.keypoints(sighted.truth.q, sighted.truth.betas), sighted.truth.cam_t)
    usable = usable_confidence(sighted.keypoints) > 0
    return usable & ((sighted.keypoints[..., :2] - true).norm(dim=-1) > _GROSS)


def _part(people: TruthPeople, rows: torch.Tensor) -> TruthPeople:
    return TruthPeople(
        people.sighted.rows(rows),
        people.keypoints_3d[rows],
        people.extreme[rows],
        people.smpl_pose[rows],
        people.smpl_betas[rows],
    )


def _lower(reference: _Outcome, ours: _Outcome) -> list[str]:
    return [f"{1 - ours.error[name] / reference.error[name]:.1%}" for name in ("mpjpe", "pa_mpjpe")]
