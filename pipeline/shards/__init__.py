"""Shards: a safe streaming reader and a writer of HMR2/HSMR WebDataset tars, local or on S3 (docs/formats.md)."""

from pipeline.shards.person_record import person_record
from pipeline.shards.reader import read_shard
from pipeline.shards.shard_list import expand_shards, list_shards
from pipeline.shards.writer import RawSample, ShardWriter, write_shard

__all__ = [
    "RawSample",
    "ShardWriter",
    "expand_shards",
    "list_shards",
    "person_record",
    "read_shard",
    "write_shard",
]
