"""Look at published label generations: inspect_labels.py rounds | show | diff | churn | report | ....

Errors go to stderr with what to do next. Exit code: 0 when something was shown, 1 when not, 2 for bad usage.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from jobs.command_line import Command, CommandError, Errors, add_keys, command_parser

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.labels import LabelStore
    from pipeline.labels.inspecting.inspection import ResultTable

EXAMPLES: Final = """examples:
  python jobs/inspect_labels.py rounds storage.root=./labels
  python jobs/inspect_labels.py show 1 --format json storage.root=s3://bucket/labels
  python jobs/inspect_labels.py diff 0 1 --top 20
  python jobs/inspect_labels.py churn 2 --against 1
  python jobs/inspect_labels.py report 2 --against 0
  python jobs/inspect_labels.py report 1 --training
  python jobs/inspect_labels.py person photos 000000 set/a 0
  python jobs/inspect_labels.py sql "SELECT round, decision, count(*) FROM labels GROUP BY ALL ORDER BY ALL"
  python jobs/inspect_labels.py sql "SELECT key, kp2d_error FROM labels ORDER BY kp2d_error DESC LIMIT 20" --round 1
  python jobs/inspect_labels.py lineage 2

settings, anywhere on the line:
  storage.root=DIR_or_s3://bucket/prefix   where the labels are (default ./labels)
  storage.catalog=URI                      their catalog, if it is not the default one
  data.shards='DIR/{000000..000412}.tar'   report: where the photos are now, if not where the round had them
  body.source=DIR                          report: the same of the body files
Errors are in crop units (the person crop is 1 wide) and, as *_px, in pixels of the 256 px crop."""

_WIDTH = 400  # columns, more than any table needs
_TABLE_ROWS: Final = 200
_BAR_WIDTH: Final = 40  # characters, of everybody
_BAR_DEG: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return Command(name="inspect_labels", parser=_parser, work=_work, failed=_failures, anywhere=_format_option).run(
        arguments
    )


def _settings() -> tuple[type, ...]:
    from jobs.label_store import StoreConfig
    from jobs.round_reports import ReportConfig

    return StoreConfig, ReportConfig


def _failures() -> Errors:
    from pipeline.labels import LabelStoreError

    return LabelStoreError, ValueError, OSError


def _work(options: argparse.Namespace) -> int:
    import duckdb

    from jobs.label_store import named_store

    if options.command == "report":
        from jobs.round_reports import make_report

        print(make_report(options))
        return 0
    try:
        _show(named_store(options.overrides), options)
    except duckdb.Error as error:
        raise CommandError(f"the query failed: {error}\nThe only table is the view `labels`.") from error
    return 0


def _show(store: "LabelStore", options: argparse.Namespace) -> None:
    from pipeline.labels.inspecting import inspection

    if options.command == "lineage" and options.format == "json":
        json.dump([asdict(item) for item in inspection.lineage(store, options.round)], sys.stdout, indent=1)
        print()
    else:
        write(_tables(store, options), options.format, sys.stdout)


def _tables(store: "LabelStore", options: argparse.Namespace) -> list["ResultTable"]:
    from pipeline.labels.inspecting import inspection

    match options.command:
        case "rounds":
            return [inspection.rounds(store)]
        case "show":
            return inspection.show(store, options.round)
        case "diff":
            return inspection.diff(store, options.before, options.after, options.top)
        case "churn":
            return [_churn(store, options)]
        case "person":
            return [inspection.person(store, options.dataset, options.shard, options.key, options.person)]
        case "lineage":
            return [inspection.lineage_table(item) for item in inspection.lineage(store, options.round)]
        case _:
            return [inspection.sql(store.query(options.round), options.query)]


def _churn(store: "LabelStore", options: argparse.Namespace) -> "ResultTable":
    from pipeline.labels.inspecting.churn import churn, churn_table

    before = options.round - 1 if options.against is None else options.against
    table = churn_table(churn(store, before, options.round), before, options.round)
    return _with_bars(table, f"moved_{_BAR_DEG}_deg") if options.format == "table" else table


def _with_bars(table: "ResultTable", column: str) -> "ResultTable":
    """The table with the shares of one of its columns drawn beside it."""
    at = table.columns.index(column)
    rows = tuple((*row, "█" * round(_BAR_WIDTH * (row[at] or 0.0))) for row in table.rows)
    return replace(table, columns=(*table.columns, f"{column} of everybody"), rows=rows)


def _format_option() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")
    return shared


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "inspect_labels", "Look at published label generations.", EXAMPLES, parents=[_format_option()]
    )
    add_keys(parser, _settings)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rounds", help="the published generations, with counts")
    show = commands.add_parser("show", help="errors per data set, decisions and rejections of one round")
    show.add_argument("round", type=int, nargs="?", help="default: the latest")
    diff = commands.add_parser("diff", help="what changed between two rounds")
    diff.add_argument("before", type=int)
    diff.add_argument("after", type=int)
    diff.add_argument("--top", type=int, default=5, help="rows shown at either end (default 5)")
    churn = commands.add_parser(
        "churn", help="the share of labels whose angles moved, by joint, and of those that came back"
    )
    churn.add_argument("round", type=int)
    churn.add_argument(
        "--against", type=int, metavar="J", help="the round it is compared with (default: the one before)"
    )
    report = commands.add_parser(
        "report", help="write a page of figures, charts and pictures, one HTML file, beside the generation"
    )
    report.add_argument("round", type=int, nargs="?", help="default: the latest")
    report.add_argument(
        "--against", type=int, metavar="J", help="the round it is compared with (default: the one before)"
    )
    report.add_argument(
        "--training", metavar="ID", nargs="?", const="", help="of a training run on the round (default: the latest one)"
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of into the store")
    person = commands.add_parser("person", help="one person through all rounds")
    person.add_argument("dataset")
    person.add_argument("shard")
    person.add_argument("key", help="of the photo, as in the tar")
    person.add_argument("person", type=int, help="position in the photo's list of people")
    sql = commands.add_parser("sql", help="any DuckDB SQL over the view `labels`")
    sql.add_argument("query")
    sql.add_argument("--round", type=int, help="only this round (default: all)")
    lineage = commands.add_parser("lineage", help="how a round came to be, back to round 0")
    lineage.add_argument("round", type=int)
    return parser


def write(tables: Sequence["ResultTable"], form: str, out: TextIO) -> None:
    """Print tables for people (`table`) or for programs: `json` is one array of rows, or an object of them by title;
    `csv` has one header, or several blocks each under a `# title` line."""
    if form == "json":
        rows = {table.title: _records(table) for table in tables}
        json.dump(rows if len(tables) > 1 else next(iter(rows.values())), out, indent=1, default=str, allow_nan=False)
        out.write("\n")
    elif form == "csv":
        for table in tables:
            _write_csv(table, out, titled=len(tables) > 1)
    else:
        from rich.console import Console

        # Never squeezed: a column of broken words is read by nobody, a long line can be scrolled.
        console = Console(file=out, width=_WIDTH)
        for table in tables:
            console.print(_rich(table))
            if len(table.rows) > _TABLE_ROWS:
                console.print(f"... {len(table.rows) - _TABLE_ROWS} more rows: --format csv prints all")


def _records(table: "ResultTable") -> list[dict[str, Any]]:
    return [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]


def _write_csv(table: "ResultTable", out: TextIO, *, titled: bool) -> None:
    if titled:
        out.write(f"# {table.title}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([json.dumps(_plain(v)) if isinstance(v, list) else v for v in row] for row in table.rows)


def _rich(table: "ResultTable") -> "Table":
    from rich.table import Table

    shown = table.rows[:_TABLE_ROWS]
    rich = Table(title=table.title, title_justify="left", show_edge=False)
    for i, column in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float | None) for row in shown)
        rich.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in shown:
        rich.add_row(*map(_text, row))
    return rich


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > 4:
        return f"[{', '.join(_text(item) for item in value[:3])}, ... {len(value)} values]"
    return str(value).replace(", ", "\n") if isinstance(value, str) and value.count(", ") > 1 else str(value)


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
