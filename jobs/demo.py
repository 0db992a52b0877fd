"""The closed loop on a made-up data set with known truth: two rounds, two trainings, and how far each is from it."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from jobs.command_line import Command, command_parser

ROOT = Path(__file__).resolve().parents[1]
EPILOG = """examples:
  python jobs/demo.py
  python jobs/demo.py --people 24 --output demo
"""
ROUNDS = (0, 1, 2)
PICTURED = 8
HELD_OUT_SHARE = 0.15
# A network that trains in half a minute on two cores. In so few steps on so few people it learns little, but it learns.
NETWORK = (
    "network.variant=tiny",
    "data.global_batch=16",
    f"data.held_out_share={HELD_OUT_SHARE}",
    "schedule.max_steps=80",
    "schedule.validate_every=40",
    "run.save_every=40",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    return Command(name="demo", parser=_parser, work=_demo).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("demo", __doc__, EPILOG)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "demo_out", help="folder for data, labels and the picture"
    )
    parser.add_argument("--people", type=int, default=240, help="people in the made-up set")
    return parser


def _demo(options: argparse.Namespace) -> int:
    from pipeline.demo_set import make_demo_set
    from pipeline.runtime.config import ConfigError

    if options.overrides:
        raise ConfigError(f"{options.overrides[0]!r}: the demo has no settings. Run jobs/run_loop.py on its set.")
    started = time.monotonic()

    print(f"Making {options.people} people in 4 shards under {options.output}/demo ...", flush=True)
    data = make_demo_set(options.output / "demo", people=options.people, progress=True)
    root = options.output / "labels"
    inputs = (f"data.shards={data.shard_pattern}", f"storage.root={root}")
    code = _run_job("run_loop.py", "--rounds", str(ROUNDS[-1]), "--min-improvement", "0", *inputs, *NETWORK)
    if code:
        print("demo: the loop did not end, see above", file=sys.stderr)
        return code
    picture = options.output / "before_after.png"
    _report(data, root, picture)
    print(f"Before and after, over the photos: {picture}")
    print(f"Ask the labels anything: .venv/bin/python jobs/inspect_labels.py rounds storage.root={root}")
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
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(_truth_table(errors))
    console.print(_network_table(data, store, truth, skel))
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


def _network_table(data, store, truth, skel):
    """The networks against the truth, on the people that neither was trained on."""
    from rich import box
    from rich.table import Table

    from pipeline.demo_set import label_errors, mean_label_errors
    from trainer.training.record import best_record

    photos = _held_out_photos(data)
    found = [best_record(store.storage, k, store.generation(k).snapshot_id) for k in ROUNDS[:-1]]
    records = [record for record in found if record is not None]
    errors = [label_errors(_predictions(store, record, photos), truth, skel) for record in records]
    means = mean_label_errors(errors)
    title = f"\nThe network's error to the truth, mean over {means[0]['people']} people held out from its training"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("trained on round", "steps in all", "MPJPE mm", "PA-MPJPE mm", "kp2d error px"):
        table.add_column(name, justify="right")
    for i, (record, row) in enumerate(zip(records, means, strict=True)):
        steps = sum(item.steps for item in records[: i + 1])
        figures = (row[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "kp2d_error_px"))
        table.add_row(str(record.round), str(steps), *(f"{figure:.2f}" for figure in figures))
    return table


def _held_out_photos(data):
    from pipeline.shards import list_shards, read_shard
    from schemas.person import Photo
    from trainer.data.held_out import is_held_out

    return [
        (info, item)
        for info in list_shards(data.shard_pattern)
        for item in read_shard(info)
        if isinstance(item, Photo) and is_held_out(info.dataset, info.shard, item.key, HELD_OUT_SHARE)
    ]


def _predictions(store, record, photos):
    """What a trained network says of these photos, as columns of a label table."""
    import pyarrow as pa

    from trainer.training.checkpoint_choice import best_source

    people = [person.id for _, photo in photos for person in photo.people]
    source = best_source(store.storage, record)
    guesses = [] if source is None else source.load("cpu").predict([photo for _, photo in photos])
    columns = {name: [list(getattr(guess, name)) for guess in guesses] for name in ("q", "betas", "cam_t")}
    identity = {name: [getattr(id, name) for id in people] for name in ("dataset", "shard", "key", "person")}
    return pa.table({**identity, "has_label": [True] * len(people), **columns})


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
