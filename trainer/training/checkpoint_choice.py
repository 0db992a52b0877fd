"""Which checkpoint a round predicts with, and a training starts from: named, or the best on record."""

from pipeline.labels import LabelStore, Storage
from pipeline.storage.opening import storage_of_file
from trainer.checkpoint import checkpoint_digest
from trainer.inference.predictor import CheckpointSource
from trainer.training.record import TrainingRecord, best_record


def predicting_checkpoint(choice: str, store: LabelStore, round: int) -> CheckpointSource | None:
    """The network for round `round`: `auto` = the best one trained on the current snapshot of generation round-1.

    `none` = no network; else a path or s3:// URI. Raises NoSuchGenerationError, FileNotFoundError.
    """
    if choice == "none" or round == 0:
        return None
    if choice != "auto":
        return CheckpointSource(absolute(choice), checkpoint_digest(choice))
    parent = store.generation(round - 1)
    return best_source(store.storage, best_record(store.storage, parent.round, parent.snapshot_id))


def best_source(storage: Storage, record: TrainingRecord | None) -> CheckpointSource | None:
    """The best checkpoint of a finished training."""
    if record is None or record.best_checkpoint is None or record.best_digest is None:
        return None
    return CheckpointSource(storage.url(record.best_checkpoint), record.best_digest)


def absolute(uri: str) -> str:
    """A path as every process reads it, whatever its working folder; an s3:// URI as it is."""
    storage, name = storage_of_file(uri)
    return storage.url(name)
