"""What changed from one generation to the next, in one sentence."""

from pipeline.labels import Generation
from pipeline.report.measuring import Measured

_KEPT = ("kept_", "no_label", "refused_")


def what_changed(generation: Generation, against: int | None, measured: Measured) -> str:
    """For somebody who reads nothing else."""
    new, old, changes = measured.everyone, measured.everyone_before, measured.every_change
    k = generation.round
    if new is None or not new.people:
        return f"Round {k} has no people."
    after = new.quantile("kp2d_error", 0.5)
    error = "" if after is None else f"; half of them are within {after:.1f} px of their keypoints"
    if against is None or old is None or changes is None:
        return f"Round {k} has a label for {_share(new.labelled, new.people)} of {new.people:,} people{error}."
    made = sum(count for name, count in new.decisions.items() if not name.startswith(_KEPT))
    before, moved = old.quantile("kp2d_error", 0.5), changes.turned.mean()
    parts = [f"Round {k} replaced or made {made:,} of {new.people:,} labels ({_share(made, new.people)})"]
    if moved is not None:
        parts.append(f"moved the joints by {moved:.2f}° on average")
    if before is not None and after is not None:
        parts.append(f"and brought the median 2D error from {before:.2f} to {after:.2f} px")
    if changes.gained or changes.lost:
        parts.append(f"with {changes.gained:,} people labelled anew and {changes.lost:,} labels lost")
    return f"{', '.join(parts)}, compared with round {against}."


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
