"""Saved states are written beside the training: the steps wait for a copy in memory, not for the storage."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from types import TracebackType
from typing import Any, Self

import torch
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from pipeline.labels import Storage
from trainer.training.state import TrainingState

logger = logging.getLogger(__name__)


class StateWriter:
    """Writes states to one file of the storage, one at a time, each all at once. A context manager, which in the end
    waits for the last write: an error of that is raised, or logged where another one ends the training.
    """

    def __init__(self, storage: Storage, name: str, device: torch.device) -> None:
        """device: of the tensors. Its memory of the copy is kept from state to state, pinned for a GPU's."""
        gpu = device.type == "cuda"
        self._storage, self._name = storage, name
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=gpu, use_non_blocking_copy=gpu, use_shared_memory=False, use_async_staging=False
            )
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state-writer")
        self._writing: Future[None] | None = None

    def save(self, state: TrainingState) -> None:
        """Copy the state, and write the copy while the caller goes on. Waits for the write before, if that is not done.

        Raises what that one ended with: CheckpointError, OSError.
        """
        self.wait()
        copied: Any = self._stager.stage({item.name: getattr(state, item.name) for item in fields(state)})
        self._writing = self._thread.submit(TrainingState(**copied).save, self._storage, self._name)

    def wait(self) -> None:
        """Until the last state is written. Raises what that ended with."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception:
            if error is None:
                raise
            logger.exception("%s was not written.", self._storage.url(self._name))
        finally:
            self._thread.shutdown()
            self._stager.close()
