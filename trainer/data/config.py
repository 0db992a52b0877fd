"""Everything that decides the sequence of training batches."""

from dataclasses import dataclass, field

from pipeline.shards.pseudo_labels import PseudoLabelConfig
from trainer.data.augmentation import AugmentConfig
from trainer.data.weights import LabelWeightConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDataConfig:
    """global_batch: people a step, over all ranks. The sequence of global batches depends on all but `workers`.

    lanes: streams that a global batch, a multiple of them, is dealt from in equal parts; each rank owns one or more, so
    a multiple of the ranks shares the work best.
    shuffle_people: how far a person may move from its place in the shard, within a lane; about half as many patches
    (196 kB each) are in memory per lane. mix: weight per data set, `aic=2,coco=1`; default by size, everybody once.
    held_out_share of the photos is kept for validation. folds, fold: of cross-fitting; with several folds the people of
    this one are not trained on. workers: loader processes a rank, 0 = in the training process.
    fewest_keypoints: people with fewer usable points are left out, be they labelled; without a label as many are needed
    as fits need. pseudo_labels: what is asked of labels that count as one.
    max_lost_share: more lost people than this (unreadable shards, damaged photos) end the training with an error.
    """

    global_batch: int = 64
    lanes: int = 8
    seed: int = 0
    shuffle_people: int = 256
    mix: str | None = None
    held_out_share: float = 0.02
    folds: int = 1
    fold: int = 0
    workers: int = 0
    fewest_keypoints: int = 0
    max_lost_share: float = 0.1
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    weights: LabelWeightConfig = field(default_factory=LabelWeightConfig)
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)

    def __post_init__(self) -> None:
        for name in ("global_batch", "lanes", "shuffle_people"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1 expected.")
        if self.folds < 1 or not 0 <= self.fold < self.folds:
            raise ValueError(f"fold={self.fold} with folds={self.folds}: one of 0 to folds - 1 expected.")
        if self.fewest_keypoints < 0:
            raise ValueError(f"fewest_keypoints={self.fewest_keypoints}: 0 (anybody with a label) or more expected.")
        if self.workers < 0:
            raise ValueError(f"workers={self.workers}: 0 (none) or a positive number expected.")
        if self.global_batch % self.lanes:
            raise ValueError(
                f"global_batch={self.global_batch} is no multiple of lanes={self.lanes}: each gives as many "
                f"people. Set global_batch={-(-self.global_batch // self.lanes) * self.lanes} or other lanes."
            )
        for name in ("held_out_share", "max_lost_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a share in [0, 1] expected.")
        self.mix_weights()

    def mix_weights(self) -> dict[str, float] | None:
        """Weight per data set, None for by size. Raises ValueError for a mix that cannot be read."""
        if self.mix is None:
            return None
        weights: dict[str, float] = {}
        for item in self.mix.split(","):
            name, equals, text = item.strip().rpartition("=")
            try:
                weights[name] = float(text)
            except ValueError:
                equals = ""
            if not equals or not 0 < weights[name] < float("inf"):
                raise ValueError(f"mix={self.mix!r}: expected DATASET=WEIGHT,... with positive weights, met {item!r}.")
        return weights
