"""Tomorrow's code in a process of its own: LABEL_SCHEMA has two more columns.

python -m tests.pipeline.labels.newer_code ROOT
"""

import sys

import pyarrow as pa

import schemas.labels

VECTOR = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
NEW = (pa.field("gain", pa.float64()), pa.field("gravity", VECTOR, nullable=False))
schemas.labels.LABEL_SCHEMA = pa.schema([*schemas.labels.LABEL_SCHEMA, *NEW])  # pyrefly: ignore

from pipeline.labels import LabelStore, read_labels, vectors  # noqa: E402
from schemas.input_shard import ShardId  # noqa: E402
from tests.pipeline.labels.label_tables import lineage, stage  # noqa: E402


def main() -> None:
    root, _, catalog = sys.argv[1].partition("@@")
    store = LabelStore(root, catalog or None)
    old = read_labels(store.files(0)[ShardId("photos", "000000")])
    assert old.schema.equals(schemas.labels.LABEL_SCHEMA)
    assert old["gain"].null_count == len(old)
    assert not vectors(old["gravity"]).any()
    parent = store.generation(0).snapshot_id
    store.publish(lineage(1, "run-1", parent_snapshot_id=parent), stage(store, 1, "run-1"))
    print("published")


if __name__ == "__main__":
    main()
