"""Draw the labels of some generations over their photos: one row per person, one column per generation."""

import argparse
import sys
from pathlib import Path

EPILOG = """examples:
  python jobs/overlay_labels.py --rounds 0 1 --output overlays.png
  python jobs/overlay_labels.py --rounds 0 2 --people 24 data.shards='DIR/{000000..000002}.tar' storage.root=s3://b/labels
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.runtime.config import ConfigError, load_config

    try:
        rows = _draw(options, load_config(RoundConfig, options.overrides))
    except ConfigError as error:
        print(f"overlay_labels: {error}", file=sys.stderr)
        return 2
    except (LabelStoreError, BodyFileError, OSError, ValueError) as error:
        print(f"overlay_labels: {error}", file=sys.stderr)
        return 1
    print(f"{rows} people drawn: {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, nargs="+", default=[0, 1], metavar="K", help="generations, one column each"
    )
    parser.add_argument("--people", type=int, default=12, help="at most so many rows")
    parser.add_argument("--columns", type=int, default=2, help="people side by side")
    parser.add_argument("--hide-photos", action="store_true", help="grey in place of the photos, to show others")
    parser.add_argument("--output", type=Path, default=Path("overlays.png"), help="the picture to write")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override, such as storage.root=DIR")
    return parser


def _draw(options: argparse.Namespace, config) -> int:
    from PIL import Image

    from pipeline.body import load_skel
    from pipeline.labels import LabelStore
    from pipeline.render import grid
    from pipeline.render.label_overlay import labels_by_person, person_panels
    from pipeline.shards import list_shards, read_shard
    from schemas.person import Photo

    store = LabelStore(config.storage.root, config.storage.catalog)
    shards = config.data.shards or [item.url for item in store.lineage(options.rounds[0]).inputs]
    labels = [(f"round {k}", labels_by_person(store.read_all(k))) for k in options.rounds]
    skel = load_skel(config.body.source, gender=config.body.gender)
    rows = []
    for info in list_shards(shards, config.data.dataset):
        for photo in (item for item in read_shard(info) if isinstance(item, Photo)):
            for person in photo.people:
                if len(rows) < options.people:
                    found = [(title, by_person.get(person.id)) for title, by_person in labels]
                    rows.append(person_panels(photo, person, found, skel, hide_photo=options.hide_photos))
    if not rows:
        raise ValueError("no person can be read from the shards; check data.shards")
    starts = range(0, len(rows), options.columns)
    lines = [[panel for row in rows[i : i + options.columns] for panel in row] for i in starts]
    Image.fromarray(grid(lines)).save(options.output)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main())
