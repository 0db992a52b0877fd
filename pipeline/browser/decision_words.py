"""Why a row is as it is, in a sentence for each decision and each start (docs/objectives.md)."""

from typing import Final

from schemas.labels import Decision, StartSource

DECISIONS: Final = {
    Decision.CONVERTED: "The SMPL pseudo-label was converted to SKEL.",
    Decision.CONVERTED_POOR_FIT: "The SMPL pseudo-label was converted, but SKEL did not follow its mesh.",
    Decision.IMPROVED: "The candidate was more probable than the parent and replaced it.",
    Decision.FIRST_LABEL: "The person had no label; this is the first.",
    Decision.KEPT_NOT_BETTER: "The candidate was not more probable: the parent stays.",
    Decision.KEPT_BETAS_OUT_OF_RANGE: "The candidate's shape is one that nobody has: the parent stays.",
    Decision.KEPT_LIMITS: "The candidate went further past a joint limit: the parent stays.",
    Decision.KEPT_NOT_FINITE: "The candidate has values that are not numbers: the parent stays.",
    Decision.KEPT_TOO_FEW_KEYPOINTS: "Too few keypoints to fit: the parent stays.",
    Decision.KEPT_GROSS_MISFIT: "The candidate lies further off than the keypoints' noise explains: the parent stays.",
    Decision.KEPT_FAR_FROM_SMPL: "The candidate left its SMPL pseudo-label: the parent stays.",
    Decision.KEPT_UNREADABLE: "The shard or the person could not be read: the parent's row was carried over.",
    Decision.NO_LABEL: "There is no label yet.",
    Decision.IMPORTED: "Taken from somebody else's labels.",
    Decision.KEPT_NOT_IMPORTED: "The import has no label of this person.",
    Decision.REFUSED_NOT_FINITE: "Refused: values that are not numbers.",
    Decision.REFUSED_BETAS_OUT_OF_RANGE: "Refused: a shape that nobody has.",
    Decision.REFUSED_FAR_FROM_SMPL: "Refused: not near its pseudo-label.",
    Decision.REFUSED_AS_FIRST_LABEL: "Refused as a first label: too far from the keypoints.",
}
STARTS: Final = {
    StartSource.SMPL: "from the SMPL pseudo-label",
    StartSource.PARENT: "from the parent's label",
    StartSource.PREDICTION: "from the network's prediction",
    StartSource.MEAN_POSE: "from the mean pose",
    StartSource.IMPORTED: "imported",
    StartSource.NONE: "nowhere: there is no label",
}


def reason(decision: str, start: str) -> str:
    """Both in words; a decision of later code is given as it is."""
    words = next((text for known, text in DECISIONS.items() if known == decision), decision)
    whence = next((text for known, text in STARTS.items() if known == start), start)
    return f"{words} Fit started {whence}."
