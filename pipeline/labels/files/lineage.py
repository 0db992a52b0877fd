"""Lineage: how a generation came to be. Small facts are snapshot properties, all of it is in a file they point to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from schemas.input_shard import InputShard

PROPERTY_PREFIX = "labels."


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Of the non-null values of one measure over a generation, in the unit of the column."""

    count: int
    mean: float
    p05: float
    p50: float
    p95: float
    max: float


FEWEST_HELDOUT: Final = 30
"""People with a held-out error below whom its quantiles say nothing of a generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """A publication against the verdict of the audit: why, and what each failed check had found."""

    reason: str
    checks: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Everything a generation was made from, and what came out. Times are ISO 8601 in UTC.

    The driver fills the first part; `rows` and below are filled by `publish` from the audited files. content_digest:
    SHA-256 over the checksums of all label files: equal digests mean equal generations, byte for byte. skel_digests: of
    the SKEL body of each gender that people could be given; genders: how many labels belong to each; both empty in
    generations from before labels stated their gender.
    """

    round: int
    run_id: str
    parent_snapshot_id: int | None
    parent_run_id: str | None
    checkpoint_uri: str | None
    checkpoint_digest: str | None
    config: str  # the whole configuration, YAML
    config_digest: str
    code_revision: str
    body_source: str
    body_digest: str
    inputs: tuple[InputShard, ...]
    started: str
    ray_job_id: str | None = None
    skel_digests: Mapping[str, str] = field(default_factory=dict)
    imported_from: str | None = None  # where the labels of an imported generation came from
    finished: str | None = None
    rows: int = 0
    content_digest: str | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    genders: Mapping[str, int] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    unreadable_shards: tuple[str, ...] = ()
    metrics: Mapping[str, Quantiles] = field(default_factory=dict)
    forced: Forced | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Lineage":
        values: dict[str, Any] = json.loads(data)
        values["inputs"] = tuple(InputShard(**item) for item in values["inputs"])
        values["unreadable_shards"] = tuple(values["unreadable_shards"])
        values["metrics"] = {name: Quantiles(**item) for name, item in values["metrics"].items()}
        if values.get("forced") is not None:
            values["forced"] = Forced(**values["forced"])
        return cls(**values)

    def properties(self, file: str, sha256: str) -> dict[str, str]:
        """Snapshot properties: the facts that fit, and where the rest is (configuration, inputs)."""
        values = asdict(self)
        for large in ("config", "inputs", "unreadable_shards"):
            del values[large]
        facts = {name: value for name, value in values.items() if value is not None}
        as_json = ("decisions", "genders", "skel_digests", "rejections", "metrics") + (
            ("forced",) if self.forced else ()
        )
        facts |= {name: json.dumps(values[name]) for name in as_json}
        facts |= {"input_shards": len(self.inputs), "lineage_file": file, "lineage_sha256": sha256}
        return {PROPERTY_PREFIX + name.replace("_", "-"): str(value) for name, value in facts.items()}


def derive_run_id(
    *,
    round: int,
    parent_snapshot_id: int | None,
    checkpoint_digest: str | None,
    body_digest: str,
    config_digest: str,
    inputs: Sequence[InputShard],
) -> str:
    """First 12 hex digits of a digest of all that decides the labels: a restart finds its own finished shards."""
    content = [
        round,
        parent_snapshot_id,
        checkpoint_digest,
        body_digest,
        config_digest,
        sorted((shard.dataset, shard.shard, shard.size, shard.etag) for shard in inputs),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
