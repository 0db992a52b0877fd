"""Which SMPL pseudo-labels of shards are believed: by how well they were fitted, and by how far their shape is out."""

from dataclasses import dataclass, replace

import numpy as np

from schemas.person import Photo, SmplLabel


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelConfig:
    """What a label must pass to count as one; None: it need not.

    max_fitting_loss: of the fit that made an SMPL label, as the shard says it (`reprojection_loss`, px^2); one that the
    shard says nothing of passes. max_betas: largest |beta|, of SMPL labels and of those of a generation.
    """

    max_fitting_loss: float | None = None
    max_betas: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_fitting_loss", "max_betas"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"data.pseudo_labels.{name}={value}: a positive number, or none, expected.")

    def believes(self, label: SmplLabel) -> bool:
        loss = label.fitting_loss
        fitted = self.max_fitting_loss is None or loss is None or loss <= self.max_fitting_loss
        return fitted and (self.max_betas is None or float(np.abs(label.betas).max()) <= self.max_betas)


def believed(label: SmplLabel | None, config: PseudoLabelConfig) -> SmplLabel | None:
    """The label, None where it is not believed."""
    return label if label is None or config.believes(label) else None


def with_believed_labels(photo: Photo, config: PseudoLabelConfig) -> Photo:
    """The photo, its people without SMPL labels that are not believed."""
    if config == PseudoLabelConfig():
        return photo
    people = tuple(replace(person, smpl=believed(person.smpl, config)) for person in photo.people)
    return replace(photo, people=people)
