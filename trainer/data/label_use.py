"""Which people a network is trained on, and which of their labels count, besides what the plan of an epoch decides."""

from dataclasses import dataclass, field
from typing import Self

import torch

from pipeline.image.keypoint_error import distinct_keypoints
from pipeline.shards.pseudo_labels import PseudoLabelConfig
from schemas.keypoints import MIN_CONFIDENT_BODY_POINTS
from schemas.person import Person
from trainer.data.config import TrainDataConfig
from trainer.data.join import FEWER_THAN_ASKED, TOO_FEW_KEYPOINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelUse:
    """pseudo_labels: what a label must pass to count; fewest_keypoints: see `TrainDataConfig`."""

    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    fewest_keypoints: int = 0

    @classmethod
    def of(cls, config: TrainDataConfig) -> Self:
        return cls(pseudo_labels=config.pseudo_labels, fewest_keypoints=config.fewest_keypoints)

    def why_lost(self, person: Person, has_label: bool) -> str | None:
        """Why nothing can, or should, be learned from a person; None for most."""
        if has_label and not self.fewest_keypoints:
            return None
        points = int(distinct_keypoints(torch.from_numpy(person.keypoints_2d)[None]))
        if not has_label and points < MIN_CONFIDENT_BODY_POINTS:
            return TOO_FEW_KEYPOINTS
        return FEWER_THAN_ASKED if points < self.fewest_keypoints else None
