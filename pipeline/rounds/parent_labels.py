"""The rows of the parent generation that a shard's labels are made from."""

import pyarrow as pa

from pipeline.labels import read_labels, with_stated_genders
from schemas.gender import GenderChoice
from schemas.labels import LABEL_SCHEMA


def parent_labels(url: str | None, choice: GenderChoice) -> pa.Table:
    """Of one label file, each label with its gender; no rows where there is no file."""
    return LABEL_SCHEMA.empty_table() if url is None else with_stated_genders(read_labels(url), choice)
