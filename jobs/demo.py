"""The closed loop on a made-up data set with known truth: two rounds, two trainings, and how far each is from it."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from jobs.command_line import Command, command_parser
from jobs.demo_report import report

ROOT = Path(__file__).resolve().parents[1]
EPILOG = """examples:
  python jobs/demo.py
  python jobs/demo.py --people 24 --output demo
"""
ROUNDS = (0, 1, 2)
HELD_OUT_SHARE = 0.15
STEPS = 400


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
    from trainer.training.mini_recipe import mini_recipe

    if options.overrides:
        raise ConfigError(f"{options.overrides[0]!r}: the demo has no settings. Run jobs/run_loop.py on its set.")
    started = time.monotonic()

    print(f"Making {options.people} people in 4 shards under {options.output}/demo ...", flush=True)
    data = make_demo_set(options.output / "demo", people=options.people, progress=True)
    root = options.output / "labels"
    inputs = (f"data.shards={data.shard_pattern}", f"storage.root={root}")
    network = (f"data.held_out_share={HELD_OUT_SHARE}", *mini_recipe(STEPS))
    code = _run_job("run_loop.py", "--rounds", str(ROUNDS[-1]), "--min-improvement", "0", *inputs, *network)
    if code:
        print("demo: the loop did not end, see above", file=sys.stderr)
        return code
    picture = options.output / "before_after.png"
    report(data, str(root), ROUNDS, HELD_OUT_SHARE, picture)
    print(f"Before and after, over the photos: {picture}")
    print(f"Ask the labels anything: .venv/bin/python jobs/inspect_labels.py rounds storage.root={root}")
    print(f"Demo finished in {time.monotonic() - started:.0f} s.")
    return 0


def _run_job(name: str, *arguments: str) -> int:
    """Run one of the jobs exactly as a user would."""
    shown = " ".join(f"'{a}'" if "{" in a else a for a in arguments)
    print(f"\n$ python jobs/{name} {shown}", flush=True)
    return subprocess.run([sys.executable, str(ROOT / "jobs" / name), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
