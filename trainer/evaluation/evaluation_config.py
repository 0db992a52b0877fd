"""What an evaluation is told: what to compare (options), and how (overrides)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.rounds.round_config import RunConfig
from pipeline.runtime.config import BodyConfig, ConfigError, Device
from trainer.evaluation.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """body: what predictions are poses of, the gender being SKEL's (`auto`: each person's, by the file's gender or
    genders); truths are neutral SMPL. batch_size: people of a part, which goes through a network at once. run: actors
    and the like, which change no result.
    """

    body: BodyConfig = field(default_factory=BodyConfig)
    device: Device = "auto"
    batch_size: int = 64
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: at least 1 person expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationInput:
    """One data set: label, its name in tables; data, the file; images, the folder."""

    label: str
    dataset: str
    data: str
    images: Path

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.dataset]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """inputs and checkpoints: each data set is asked of each network; output: a folder of our own."""

    inputs: Sequence[EvaluationInput]
    checkpoints: Sequence[str]
    output: Path

    @classmethod
    def of_options(
        cls,
        datasets: Sequence[str],
        data: Sequence[str],
        images: Sequence[Path],
        checkpoints: Sequence[str],
        output: Path,
    ) -> Self:
        """The n-th data set with the n-th file and folder. Raises ConfigError where something is missing or twice."""
        if not len(datasets) == len(data) == len(images):
            raise ConfigError(
                f"{len(datasets)} --dataset, {len(data)} --data, {len(images)} --images: each data set needs its file "
                "and its folder, in this order."
            )
        if len(set(checkpoints)) < len(checkpoints):
            raise ConfigError(f"--checkpoint {Counter(checkpoints).most_common(1)[0][0]} is given twice.")
        repeated = {name for name, count in Counter(datasets).items() if count > 1}
        labels = [f"{name}:{Path(file).stem}" if name in repeated else name
                  for name, file in zip(datasets, data, strict=True)]  # fmt: skip
        if len(set(labels)) < len(labels):
            raise ConfigError(f"--dataset {Counter(labels).most_common(1)[0][0]}: two files of this name.")
        inputs = [
            EvaluationInput(label=label, dataset=name, data=file, images=folder.expanduser().absolute())
            for label, name, file, folder in zip(labels, datasets, data, images, strict=True)
        ]
        return cls(inputs=inputs, checkpoints=list(checkpoints), output=output)

    @property
    def names(self) -> list[str]:
        """Of the checkpoints, in tables: the file's name where it tells them apart."""
        short = [address.rpartition("/")[2] for address in self.checkpoints]
        return short if len(set(short)) == len(short) else list(self.checkpoints)
