"""Draw the labels of some generations over their photos: one row per person, one column per generation."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.command_line import Command, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from pipeline.rounds.round_config import RoundConfig

EPILOG = """examples:
  python jobs/overlay_labels.py --rounds 0 1 --output overlays.png
  python jobs/overlay_labels.py --rounds 0 2 --people 24 data.shards='DIR/{000000..000002}.tar' storage.root=s3://b/labels

exit codes: 0 drawn; 1 not, and the message says why; 2 an option or override is wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(name="overlay_labels", parser=_parser, work=_work, failed=_failures).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("overlay_labels", __doc__, EPILOG)
    parser.add_argument(
        "--rounds", type=int, nargs="+", default=[0, 1], metavar="K", help="generations, one column each"
    )
    parser.add_argument("--people", type=int, default=12, help="at most so many rows")
    parser.add_argument("--columns", type=int, default=2, help="people side by side")
    parser.add_argument("--hide-photos", action="store_true", help="grey in place of the photos, to show others")
    parser.add_argument("--output", type=Path, default=Path("overlays.png"), help="the picture to write")
    add_keys(parser, _settings)
    add_overrides(parser, "storage.root=DIR")
    return parser


def _settings() -> tuple[type, ...]:
    from pipeline.rounds.round_config import RoundConfig

    return (RoundConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError

    return LabelStoreError, BodyFileError, OSError, ValueError


def _work(options: argparse.Namespace) -> int:
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.runtime.config import load_config

    rows = _draw(options, load_config(RoundConfig, options.overrides))
    print(f"{rows} people drawn: {options.output}")
    return 0


def _draw(options: argparse.Namespace, config: "RoundConfig") -> int:
    from PIL import Image

    from pipeline.body.gendered_skel import load_skels
    from pipeline.labels import LabelStore, check_genders
    from pipeline.render import grid
    from pipeline.render.label_overlay import labels_by_person, person_panels
    from pipeline.shards import list_shards, read_shard
    from schemas.person import Photo

    store = LabelStore(config.storage.root, config.storage.catalog)
    shards = config.data.shards or [item.url for item in store.lineage(options.rounds[0]).inputs]
    labels = [(f"round {k}", labels_by_person(store.read_all(k))) for k in options.rounds]
    for k in options.rounds:
        check_genders(store.lineage(k), config.body.gender)
    skels = load_skels(config.body.source, config.body.gender)
    rows = []
    for info in list_shards(shards, config.data.dataset):
        for photo in (item for item in read_shard(info) if isinstance(item, Photo)):
            for person in photo.people:
                if len(rows) < options.people:
                    found = [(title, by_person.get(person.id)) for title, by_person in labels]
                    rows.append(person_panels(photo, person, found, skels, hide_photo=options.hide_photos))
    if not rows:
        raise ValueError("no person can be read from the shards; check data.shards")
    starts = range(0, len(rows), options.columns)
    lines = [[panel for row in rows[i : i + options.columns] for panel in row] for i in starts]
    Image.fromarray(grid(lines)).save(options.output)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main())
