"""Labels in HSMR's converted tars: the input shards, with the label of a generation added to every person."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.labels.exchange.fitting_loss import FITTING_COLUMNS, TAKEN_BELOW_IN_TARS, fitting_loss
from pipeline.labels.exchange.hsmr_fields import HsmrLabel, label_fields, label_of, told_gender
from pipeline.labels.files.columns import figures, vectors
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.files.staging import read_labels
from pipeline.labels.store import LabelStore
from pipeline.shards import ShardWriter
from pipeline.shards.raw_samples import raw_samples
from pipeline.shards.writer import pickle_people
from pipeline.storage.opening import open_storage
from schemas.input_shard import InputShard

_COLUMNS = ("key", "person", "has_label", "q", "betas", *FITTING_COLUMNS, "kp2d_error", "gender")
_LABEL_PART = "data.pyd"

PersonInShard = tuple[str, int]
"""(key, person): who it is within a shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTar:
    """One exported shard: how many people got a label or none, and samples left out because they cannot be read."""

    url: str
    labelled: int
    unlabelled: int
    left_out: int


def export_tars(store: LabelStore, round: int, destination: str) -> Iterator[WrittenTar]:
    """Write DESTINATION/DATASET/SHARD.tar for every input shard of generation `round` that is still there.

    Everything in a sample stays as it was; `data.pyd` gets the fields of `label_fields`, people keep their position.
    Raises NoSuchGenerationError, and LabelStoreError naming a shard that has changed since or cannot be read.
    """
    files, target = store.files(round), open_storage(destination)
    for item in store.lineage(round).inputs:
        labels = read_file_labels(files.get(item.id))
        try:
            yield _write(item, labels, target.url(f"{item.dataset}/{item.shard}.tar"))
        except (OSError, ValueError) as error:
            raise LabelStoreError(f"{item.url} cannot be exported: {error}. Is data.shards where it was?") from error


def read_tar_labels(info: InputShard) -> dict[PersonInShard, HsmrLabel]:
    """The labels in a converted tar. Raises OSError or ValueError when it cannot be read at all."""
    found: dict[PersonInShard, HsmrLabel] = {}
    for sample in raw_samples(info, _LABEL_PART):
        for number, person in enumerate(sample.people or []):
            label = label_of(person)
            if label is not None:
                found.setdefault((sample.key, number), label)
    return found


def read_file_labels(url: str | None) -> dict[PersonInShard, HsmrLabel]:
    """The labelled rows of a label file; none for a shard without a file."""
    if url is None:
        return {}
    table = read_labels(url, _COLUMNS)
    return {who: label for who, label in zip(_people(table), _labels(table), strict=True) if label is not None}


def _people(table: pa.Table) -> list[PersonInShard]:
    return list(zip(table["key"].to_pylist(), table["person"].to_pylist(), strict=True))


def _labels(table: pa.Table) -> Iterator[HsmrLabel | None]:
    rows = zip(
        table["has_label"].to_pylist(),
        vectors(table["q"]),
        vectors(table["betas"]),
        fitting_loss(table, TAKEN_BELOW_IN_TARS).tolist(),
        *(figures(table[name]).tolist() for name in ("pve_max_mm", "kp2d_error")),
        table["gender"].to_pylist(),
        strict=True,
    )
    for has_label, q, betas, pve_max, distance, error, gender in rows:
        label = HsmrLabel(
            q=q, betas=betas, pve_max=pve_max, kp2d_err=error, smpl_pve_max_mm=distance, gender=told_gender(gender)
        )
        yield label if has_label else None


def _write(item: InputShard, labels: Mapping[PersonInShard, HsmrLabel], url: str) -> WrittenTar:
    labelled = people = left_out = 0
    written: set[str] = set()
    with ShardWriter(url) as writer:
        for sample in raw_samples(item):
            persons = sample.people
            if persons is None or "jpg" not in sample.parts or sample.key in written:
                left_out += 1  # HSMR would unpickle it without asking what it names
                continue
            written.add(sample.key)
            found = [labels.get((sample.key, number)) for number in range(len(persons))]
            extended = [person | label_fields(label) for person, label in zip(persons, found, strict=True)]
            writer.write_parts(sample.key, sample.parts | {_LABEL_PART: pickle_people(extended)})
            labelled, people = labelled + sum(label is not None for label in found), people + len(persons)
    return WrittenTar(url=url, labelled=labelled, unlabelled=people - labelled, left_out=left_out)
