"""What can go wrong with a label store; every message says what to do next."""


class LabelStoreError(Exception):
    """Base of the errors below."""


class NoSuchGenerationError(LabelStoreError):
    """The store, the round or the shard asked for is not there."""


class LabelSchemaError(LabelStoreError):
    """A table of labels has other columns or types than LABEL_SCHEMA."""


class AlreadyPublishedError(LabelStoreError):
    """Another run has published this round; nothing was changed."""


class OtherBodyError(LabelStoreError):
    """Labels belong to the SKEL body of another gender than the one that their people are given."""


class RoundOrderError(LabelStoreError):
    """A round cannot be published, withdrawn or expired while a later one, made from it, is published."""


class RoundBusyError(LabelStoreError):
    """Another process works on the same round; nothing was changed."""


class ParentChangedError(LabelStoreError):
    """The parent generation is missing or no longer the one this run was computed from; nothing was published."""


class PublishConflictError(LabelStoreError):
    """Others kept changing the table; nothing was published, and starting again is safe."""


class StoreFailedError(LabelStoreError):
    """The disk or S3 failed while a round was being published; readers see nothing of the round."""


class CatalogError(LabelStoreError):
    """The catalog cannot be used, or does not know the table that lies under the root."""
