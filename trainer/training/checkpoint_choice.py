"""Which checkpoint a round predicts with, and a training starts from: named, or the best on record."""

from collections.abc import Sequence
from typing import Final

from pipeline.labelling.predictor import PredictorSource
from pipeline.labels import LabelStore, Storage
from pipeline.rounds.round_config import PredictConfig
from pipeline.runtime.config import BodyConfig
from pipeline.storage.opening import storage_of_file
from trainer.checkpoint import CheckpointError, checkpoint_digest
from trainer.inference.cross_fit import CrossFitSource
from trainer.inference.predictor import CheckpointSource
from trainer.network.variants import NetworkHead
from trainer.training.record import TrainingRecord, best_record

HEADS: Final[tuple[NetworkHead, ...]] = ("skel", "smpl")
_OPEN_BODY: Final = BodyConfig()


class MissingFoldError(CheckpointError):
    """Cross-fitting needs a network for each fold; the message names those that are missing and how to train them."""


def predictor_of_round(
    config: PredictConfig,
    store: LabelStore,
    round: int,
    body: BodyConfig = _OPEN_BODY,
    heads: Sequence[NetworkHead] = HEADS,
) -> PredictorSource | None:
    """The network for round `round`: `auto` = the best one trained on the current snapshot of generation round-1, or
    with cross_fit the best one of each fold; `none` = no network; else a path or s3:// URI.

    body: of the round, which SMPL predictions are converted to. heads: of `auto`, in the order of preference: the first
    of which there is a network.
    Raises NoSuchGenerationError, FileNotFoundError, MissingFoldError.
    """
    choice = config.checkpoint
    if choice == "none" or round == 0:
        return None
    if choice != "auto":
        return CheckpointSource(absolute(choice), checkpoint_digest(choice), body)
    folds, parent = config.cross_fit, store.generation(round - 1)
    found: list[CheckpointSource | None] = [None] * folds
    for head in heads:
        on = store.storage, parent.round, parent.snapshot_id
        records = [best_record(*on, fold, folds, head=head) for fold in range(folds)]
        found = [best_source(store.storage, record, body) for record in records]
        if any(found):
            break
    return found[0] if folds == 1 else _of_every_fold(found, parent.round, store.storage.root)


def _of_every_fold(found: Sequence[CheckpointSource | None], round: int, root: str) -> CrossFitSource:
    if missing := [fold for fold, source in enumerate(found) if source is None]:
        one = f"data.folds={len(found)} data.fold={missing[0]} storage.root={root}"
        raise MissingFoldError(
            f"predict.cross_fit={len(found)}, but no network was trained on generation {round} without fold "
            f"{', '.join(map(str, missing))}. Train it: python jobs/train_round.py --round {round} {one} "
            f"(--cross-fit {len(found)} trains all that are missing)."
        )
    return CrossFitSource(tuple(source for source in found if source is not None))


def best_source(
    storage: Storage, record: TrainingRecord | None, body: BodyConfig = _OPEN_BODY
) -> CheckpointSource | None:
    """The best checkpoint of a finished training; body: as in `predictor_of_round`."""
    if record is None or record.best_checkpoint is None or record.best_digest is None:
        return None
    return CheckpointSource(storage.url(record.best_checkpoint), record.best_digest, body)


def absolute(uri: str) -> str:
    """A path as every process reads it, whatever its working folder; an s3:// URI as it is."""
    storage, name = storage_of_file(uri)
    return storage.url(name)
