"""Drift alarms: what a generation should not do to its parent's labels unasked, and so should be looked at."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.report.figures import Changes, LabelFigures
from pipeline.report.measuring import Measured
from schemas.person import REPAIRS
from schemas.skel import N_BETAS, N_UNLIMITED, Q_NAMES

JOINT_DEG: Final = 2.0
STANDARD_ERRORS: Final = 4.0
"""A joint's mean has moved if it did by more than both: the mean of a few people moves by chance."""
SHAPE_STD: Final = 0.2
ERROR_SHARE: Final = 1.1
REJECTED_TIMES: Final = 2.0
FEWEST_REJECTED: Final = 10
UNLABELLED_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One finding: what (of which joint or data set), and what was found, in words with figures."""

    what: str
    where: str
    found: str


def alarms(measured: Measured) -> list[Alarm]:
    """Of a generation beside the one it is compared with; none without one."""
    new, old, changes = measured.everyone, measured.everyone_before, measured.every_change
    if new is None or old is None or changes is None:
        return []
    found = [*_joints(changes), *_shape(new, old), *_violations(new, old), *_rejections(measured)]
    for name in sorted(measured.before.keys() | measured.after.keys()):
        found += _data_set(name, measured.after.get(name), measured.before.get(name))
    return found


def _joints(changes: Changes) -> Iterator[Alarm]:
    if changes.people < 2:
        return
    mean = changes.q_sums / changes.people
    spread = np.sqrt(np.maximum(changes.q_squares / changes.people - mean**2, 0.0))
    bound = np.maximum(JOINT_DEG, STANDARD_ERRORS * spread / math.sqrt(changes.people))
    limited = np.arange(len(Q_NAMES)) >= N_UNLIMITED
    for joint in np.flatnonzero((np.abs(mean) > bound) & limited):
        yield Alarm(
            what="mean of a joint moved",
            where=Q_NAMES[joint],
            found=f"by {mean[joint]:+.1f} degrees over {changes.people} people (alarm above {bound[joint]:.1f})",
        )


def _shape(new: LabelFigures, old: LabelFigures) -> Iterator[Alarm]:
    for beta in range(N_BETAS):
        before, after = old.betas.mean(beta), new.betas.mean(beta)
        if before is not None and after is not None and abs(after - before) > SHAPE_STD:
            found = f"from {before:+.2f} to {after:+.2f} standard deviations (alarm above {SHAPE_STD})"
            yield Alarm(what="mean shape moved", where=f"beta {beta}", found=found)


def _violations(new: LabelFigures, old: LabelFigures) -> Iterator[Alarm]:
    for joint in np.flatnonzero(new.outside > old.outside):
        found = f"{new.outside[joint]} labels, {old.outside[joint]} before; by up to {new.worst_deg[joint]:.1f} degrees"
        yield Alarm(what="more labels beyond a limit", where=Q_NAMES[joint], found=found)


def _rejections(measured: Measured) -> Iterator[Alarm]:
    if measured.refused is None or measured.refused_before is None:
        return
    for name, reasons in sorted(measured.refused.items()):
        now, before = refused_people(reasons), refused_people(measured.refused_before.get(name, {}))
        if now >= FEWEST_REJECTED and now >= REJECTED_TIMES * before:
            yield Alarm(what="rejections doubled", where=name, found=f"{now} rejections, {before} before")


def refused_people(reasons: Mapping[str, int]) -> int:
    """Rejections of whole people, photos or shards, without the repairs that leave the person in."""
    return sum(count for reason, count in reasons.items() if reason not in REPAIRS)


def _data_set(name: str, new: LabelFigures | None, old: LabelFigures | None) -> Iterator[Alarm]:
    if new is None or old is None:
        if new is None and old is not None and old.people:
            yield Alarm(what="data set is gone", where=name, found=f"{old.people} people before")
        return
    before, after = old.quantile("kp2d_error", 0.5), new.quantile("kp2d_error", 0.5)
    if before and after and after > ERROR_SHARE * before:
        yield Alarm(what="2D error rose", where=name, found=f"median {after:.2f} px, {before:.2f} px before")
    shares = [1 - item.labelled / item.people if item.people else 0.0 for item in (new, old)]
    if shares[0] > shares[1] + UNLABELLED_SHARE:
        yield Alarm(what="more people without a label", where=name, found=f"{shares[0]:.1%}, {shares[1]:.1%} before")
