"""Which people a network is trained on, and which of their labels count, besides what the plan of an epoch decides."""

from dataclasses import dataclass, field, replace
from typing import Self

import torch

from pipeline.image.keypoint_error import distinct_keypoints
from pipeline.shards.pseudo_labels import PseudoLabelConfig, believed
from schemas.keypoints import MIN_CONFIDENT_BODY_POINTS
from schemas.person import Person
from trainer.data.config import TrainDataConfig
from trainer.data.join import FEWER_THAN_ASKED, TOO_FEW_KEYPOINTS, LabelRow
from trainer.network.variants import NetworkHead


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelUse:
    """head: whose labels, the generation's for `skel`, the SMPL pseudo-labels of the shards for `smpl`. pseudo_labels:
    what a label must pass to count; fewest_keypoints: see `TrainDataConfig`.
    """

    head: NetworkHead = "skel"
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    fewest_keypoints: int = 0

    @classmethod
    def of(cls, config: TrainDataConfig, head: NetworkHead) -> Self:
        return cls(head=head, pseudo_labels=config.pseudo_labels, fewest_keypoints=config.fewest_keypoints)

    def seen(self, person: Person) -> Person:
        """The person, without an SMPL label that is not believed."""
        smpl = believed(person.smpl, self.pseudo_labels)
        return person if smpl is person.smpl else replace(person, smpl=smpl)

    def why_lost(self, person: Person, row: LabelRow) -> str | None:
        """Why nothing can, or should, be learned from a person as `seen`; None for most."""
        has_label = row.has_label if self.head == "skel" else person.smpl is not None
        if has_label and not self.fewest_keypoints:
            return None
        points = int(distinct_keypoints(torch.from_numpy(person.keypoints_2d)[None]))
        if not has_label and points < MIN_CONFIDENT_BODY_POINTS:
            return TOO_FEW_KEYPOINTS
        return FEWER_THAN_ASKED if points < self.fewest_keypoints else None
