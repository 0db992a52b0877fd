"""Where the files of a generation lie below the storage root (docs/labels.md)."""

import re
from typing import Final
from urllib.parse import quote

TABLE_FOLDER = "iceberg/labels"
CATALOG_FILE = "iceberg/catalog.db"
MOVED_FILE = "iceberg/moved-to.json"
LOCK_NAME = "driver.json"
REPORT_FOLDER = "reports"
_REPORT: Final = re.compile(r"reports/round=\d+/(\d+)(?:-against-\d+)?\.html")
_RUN: Final = re.compile(r"data/round=(\d+)/run=([^/]+)/")


def run_folder(round: int, run_id: str) -> str:
    return f"{round_folder(round)}/run={run_id}"


def round_folder(round: int) -> str:
    return f"data/round={round:05d}"


def lock_file(round: int) -> str:
    """Held by the one driver that works on the round."""
    return f"{round_folder(round)}/{LOCK_NAME}"


def data_file(round: int, run_id: str, dataset: str, shard: str) -> str:
    return f"{run_folder(round, run_id)}/{shard_file(dataset, shard)}"


def shard_file(dataset: str, shard: str) -> str:
    """The label file of a shard below the folder of a run, or of an export."""
    return f"dataset={_quoted(dataset)}/{_quoted(shard)}.parquet"


def sidecar_file(round: int, run_id: str, dataset: str, shard: str) -> str:
    return f"{run_folder(round, run_id)}/dataset={_quoted(dataset)}/{_quoted(shard)}.json"


def run_of(name: str) -> tuple[int, str] | None:
    """(round, run_id) of the run that a file below the root belongs to, or None."""
    match = _RUN.match(name)
    return None if match is None else (int(match[1]), match[2])


def lineage_file(round: int, run_id: str, sha256: str) -> str:
    """Named by content: a restart of the same run must not change what an earlier snapshot points to."""
    return f"{run_folder(round, run_id)}/lineage-{sha256[:12]}.json"


def report_file(round: int, snapshot_id: int, against: int | None = None) -> str:
    """The report on a generation; against: the snapshot it is compared with, where that is not the round before."""
    other = "" if against is None else f"-against-{against}"
    return f"{REPORT_FOLDER}/round={round:05d}/{snapshot_id}{other}.html"


def snapshot_of_report(name: str) -> int | None:
    """The snapshot that a report below the root is on, or None for another file."""
    match = _REPORT.fullmatch(name)
    return None if match is None else int(match[1])


def _quoted(name: str) -> str:
    """Percent-encoded: a data set may be called anything, yet must stay one folder and mean no glob."""
    if not name:
        raise ValueError("a dataset or shard has an empty name. Set data.dataset, or rename the tar.")
    return quote(name, safe="")
