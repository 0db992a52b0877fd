"""A refinement loop on a made-up data set with known truth: rounds 0, 1 and 2, and how far each is from the truth."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = (0, 1, 2)
PICTURED = 8


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "demo_out", help="folder for data, labels and the picture"
    )
    parser.add_argument("--people", type=int, default=240, help="people in the made-up set")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    from pipeline.demo_set import make_demo_set

    print(f"Making {options.people} people in 4 shards under {options.output}/demo ...", flush=True)
    data = make_demo_set(options.output / "demo", people=options.people, progress=True)
    for k in ROUNDS:
        inputs = [f"data.shards={data.shard_pattern}"] if k == 0 else []
        code = _run_job("refine_round.py", "--round", str(k), *inputs, f"storage.root={options.output / 'labels'}")
        if code:
            print(f"demo: round {k} was not published, see above", file=sys.stderr)
            return code
    picture = options.output / "before_after.png"
    _report(data, options.output / "labels", picture)
    print(f"Before and after, over the photos: {picture}")
    print(
        f"Ask the labels anything: .venv/bin/python jobs/inspect_labels.py rounds storage.root={options.output}/labels"
    )
    print(f"Demo finished in {time.monotonic() - started:.0f} s.")
    return 0


def _run_job(name: str, *arguments: str) -> int:
    """Run one of the jobs exactly as a user would."""
    shown = " ".join(f"'{a}'" if "{" in a else a for a in arguments)
    print(f"\n$ python jobs/{name} {shown}", flush=True)
    return subprocess.run([sys.executable, str(ROOT / "jobs" / name), *arguments], check=False).returncode


def _report(data, root: Path, picture: Path) -> None:
    import pyarrow.parquet as pq
    from rich.console import Console

    from pipeline.body import load_skel
    from pipeline.demo_set import label_errors
    from pipeline.labels import LabelStore

    store, skel, truth = LabelStore(str(root)), load_skel(), pq.read_table(data.truth_path)
    tables = [store.read_all(k) for k in ROUNDS]
    errors = [label_errors(table, truth, skel) for table in tables]
    Console(width=None if sys.stdout.isatty() else 110).print(_truth_table(errors))
    _draw(data, tables, truth, skel, picture)


def _truth_table(errors):
    from rich import box
    from rich.table import Table

    from pipeline.demo_set import mean_label_errors

    means = mean_label_errors(errors)
    title = f"\nLabel error to the known truth, mean over the {means[0]['people']} people labelled in every round"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("round", "MPJPE mm", "PA-MPJPE mm", "MPVPE mm", "kp2d error px", "limit violations"):
        table.add_column(name, justify="right")
    for k, row in zip(ROUNDS, means, strict=True):
        figures = (row[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "kp2d_error_px"))
        table.add_row(str(k), *(f"{figure:.2f}" for figure in figures), str(row["limit_violations"]))
    return table


def _draw(data, tables, truth, skel, picture: Path) -> None:
    from PIL import Image

    from pipeline.render import grid
    from pipeline.render.label_overlay import labels_by_person, person_panels
    from pipeline.shards import list_shards, read_shard
    from schemas.person import PersonId, Photo

    true = {PersonId(r["dataset"], r["shard"], r["key"], r["person"]): r for r in truth.to_pylist()}
    columns = [(f"round {k}", labels_by_person(tables[k])) for k in (ROUNDS[0], ROUNDS[-1])]
    rows = []
    for info in list_shards(data.shard_pattern):
        photos = [item for item in read_shard(info) if isinstance(item, Photo)]
        for photo in photos[: PICTURED // data.shards]:
            person = photo.people[0]
            labels = [
                *((title, by_person.get(person.id)) for title, by_person in columns),
                ("truth", true.get(person.id)),
            ]
            rows.append(person_panels(photo, person, labels, skel, size=256))
    pairs = [[*a, *b] for a, b in zip(rows[::2], rows[1::2], strict=False)]
    Image.fromarray(grid(pairs, height=256)).save(picture)


if __name__ == "__main__":
    sys.exit(main())
