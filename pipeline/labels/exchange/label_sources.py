"""Where imported labels come from: the files that HSMR writes, and those of others, asked shard by shard."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.hsmr_npz import read_npz
from pipeline.labels.exchange.hsmr_pseudo_gt import PseudoGt, read_pseudo_gt
from pipeline.labels.exchange.hsmr_tars import PersonInShard, read_tar_labels
from pipeline.labels.exchange.matched_rows import MatchedRows, MatchedSource, joined
from pipeline.labels.exchange.photo_boxes import Undecided
from pipeline.runtime.config import ConfigError
from pipeline.shards import list_shards
from schemas.input_shard import InputShard
from schemas.person import Person, SmplLabel

Found = HsmrLabel | SmplLabel | Undecided | None
"""What a source has of a person: a SKEL label, an SMPL label that is to be converted, or several that could be it."""


class LabelSource(Protocol):
    """Where imported labels come from; `digest` is of their content."""

    uri: str
    digest: str

    def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> Sequence[Found]:
        """The label of each of these people, who are all of one shard; None where there is none."""
        ...


class TarLabels:
    """HSMR's converted tars; a tar holds the labels of the input shard that has its name (and data set, if told)."""

    def __init__(self, pattern: str, dataset: str | None = None) -> None:
        """Raises FileNotFoundError or ValueError for a pattern that cannot be used."""
        self.uri = pattern
        self.shards = list_shards(pattern, dataset)
        content = sorted((item.shard, item.size, item.etag) for item in self.shards)
        self.digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        self._by_name: dict[str, list[InputShard]] = {}
        for item in self.shards:
            self._by_name.setdefault(item.shard, []).append(item)
        self._read: tuple[InputShard, Mapping[PersonInShard, HsmrLabel]] | None = None

    def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> list[HsmrLabel | None]:
        tars = self._by_name.get(shard, [])
        tars = [item for item in tars if item.dataset == dataset] or tars
        if len(tars) > 1:
            raise ConfigError(f"{len(tars)} tars are named {shard}: put them into folders named as their data sets.")
        if not tars:
            return [None] * len(people)
        if self._read is None or self._read[0] != tars[0]:
            self._read = tars[0], read_tar_labels(tars[0])
        return [self._read[1].get((who.id.key, who.id.person)) for who in people]


class NpzSource:
    """One npz, see `pipeline.labels.exchange.hsmr_npz`."""

    def __init__(self, path: str) -> None:
        """Raises LabelStoreError for a file that cannot be used."""
        self.uri = path
        self._labels = read_npz(path)
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> list[HsmrLabel | None]:
        return [self._labels.label(who.id) for who in people]


class PseudoGtSource:
    """HSMR's own refined labels, the files of all ranks; see `pipeline.labels.exchange.hsmr_pseudo_gt`."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises LabelStoreError for a file that cannot be used, FileNotFoundError where there is none."""
        if not paths:
            raise FileNotFoundError("No file of refined labels: better_pseudo_gt.npz_r0, ... expected.")
        self.uri = " ".join(paths)
        self.found: PseudoGt = read_pseudo_gt(paths)
        digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
        self.digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def of_shard(self, dataset: str, shard: str, people: Sequence[Person]) -> list[HsmrLabel | None]:
        return [self.found.labels.label(who.id) for who in people]


def matched_source(
    paths: Sequence[str], read: Callable[[str, float | None], MatchedRows], max_loss: float | None = None
) -> MatchedSource:
    """Files of one form whose people are found by photo and box. Raises LabelStoreError for those that cannot be used,
    FileNotFoundError where there is none.

    The digest is of all that decides the labels: how the files are read, too.
    """
    if not paths:
        raise FileNotFoundError("No label file is given.")
    rows = joined([read(path, max_loss) for path in paths])
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    decides = json.dumps([read.__name__, max_loss, digests])
    limit = "" if max_loss is None else f" with loss up to {max_loss:g}"
    return MatchedSource(rows, " ".join(paths) + limit, hashlib.sha256(decides.encode()).hexdigest())
