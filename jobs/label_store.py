"""The label store that the overrides of a command name."""

from dataclasses import dataclass, field

from pipeline.labels import LabelStore
from pipeline.runtime.config import StorageConfig, load_config


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """What a command on the label store can be told besides its arguments."""

    storage: StorageConfig = field(default_factory=StorageConfig)


def named_store(overrides: list[str]) -> LabelStore:
    """Raises ConfigError for an override that is no setting of a store, ValueError for an unusable root."""
    storage = load_config(StoreConfig, overrides).storage
    return LabelStore(storage.root, storage.catalog)
