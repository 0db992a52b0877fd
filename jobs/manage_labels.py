"""Operate a label store: rollback, forget, expire, verify, export, check-export, import, relocate.

Looking is inspect_labels.py.

Errors go to stderr with what to do next. Exit code: 0 done, 1 not done or (verify) something is wrong, 2 bad usage.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobs.command_line import Command, CommandError, Errors, add_keys, command_parser

if TYPE_CHECKING:
    from pipeline.labels import LabelStore
    from pipeline.labels.exchange.label_sources import LabelSource
    from pipeline.labels.exchange.matched_rows import MatchedSource
    from pipeline.labels.upkeep.expire import Expired

EXAMPLES: Final = """examples:
  python jobs/manage_labels.py rollback 1 --reason "wrong body files in round 2" storage.root=/data/labels
  python jobs/manage_labels.py forget 2 --reason "keypoints of the wrong camera" --keep-children
  python jobs/manage_labels.py withdrawn
  python jobs/manage_labels.py expire --older-than 30d --dry-run
  python jobs/manage_labels.py verify 3
  python jobs/manage_labels.py export 3 --as tars --to /data/hsmr_tars
  python jobs/manage_labels.py check-export /data/hsmr_tars
  python jobs/manage_labels.py import --round 0 --tars '/data/hsmr_tars/aic/{000000..000412}.tar' storage.root=./labels
  python jobs/manage_labels.py import --round 1 --skelcf aic-release_skel.npz storage.root=./labels
  python jobs/manage_labels.py relocate --to s3://bucket/labels --to-catalog postgresql+psycopg://HOST/DB --move

settings, anywhere on the line:
  storage.root=DIR_or_s3://bucket/prefix   where the labels are (default ./labels)
  storage.catalog=URI                      their catalog, if it is not the default one
`import` takes those of refine_round.py (data.shards, body.source, fit.device, audit.*, ...)."""

_AGE: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHOWN: Final = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return Command(name="manage_labels", parser=_parser, work=_work, failed=_failures).run(arguments)


def _settings() -> tuple[type, ...]:
    from jobs.label_store import StoreConfig

    return (StoreConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError
    from pipeline.rounds.actor import StagingError
    from pipeline.rounds.pool import ActorStartError

    return LabelStoreError, StagingError, ActorStartError, BodyFileError, ValueError, OSError


def _work(options: argparse.Namespace) -> int:
    from jobs.label_store import named_store

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if options.command == "import":
        return _import(options, options.overrides)
    return options.run(named_store(options.overrides), options)


def _rollback(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels.upkeep.rollback import rollback

    later = [generation.round for generation in store.rounds() if generation.round > options.round]
    if options.dry_run:
        store.generation(options.round)
        print(f"Would retire rounds {_listed(later)}; round {options.round} would be the latest.")
        return 0
    retired = rollback(store, options.round, options.reason)
    print(
        f"Retired rounds {_listed(retired)}; round {options.round} is the latest. Their files stay until they expire."
    )
    return 0


def _forget(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels.upkeep.forget import forget

    if options.dry_run:
        children = [generation.round for generation in store.rounds() if generation.round > options.round]
        store.generation(options.round)
        print(f"Would forget round {options.round}. Made after it: {_listed(children) or 'nothing'}.")
        return 0
    forgotten = forget(
        store,
        options.round,
        options.reason,
        with_children=options.with_children,
        keep_children=options.keep_children,
    )
    print(f"Forgot rounds {_listed(forgotten)}: no reader sees them. Their files stay until they expire.")
    return 0


def _withdrawn(store: "LabelStore", options: argparse.Namespace) -> int:
    items = store.withdrawn()
    for item in items:
        generation = item.generation
        size = f"{generation.rows} people, {generation.file_bytes} bytes"
        print(f"round {generation.round} run {generation.run_id}: {item.how} {item.when}, {size}: {item.reason}")
    if not items:
        print("No generation is withdrawn.")
    return 0


def _expire(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels.upkeep.expire import expire

    done = expire(store, older_than=options.older_than, before_round=options.before_round, dry_run=options.dry_run)
    _show_expired(done, dry_run=options.dry_run)
    return 0


def _show_expired(done: "Expired", *, dry_run: bool) -> None:
    would = "Would delete" if dry_run else "Deleted"
    for title, names in (
        ("generations", done.generations),
        ("runs", done.runs),
        ("unfinished uploads", [upload.key for upload in done.uploads]),
    ):
        print(f"{title}: {_listed(names[:_SHOWN]) or 'none'}{' ...' if len(names) > _SHOWN else ''}")
    for reason in done.skipped:
        print(f"skipped: {reason}")
    and_metadata = ", and table metadata that only those generations need" if dry_run and done.generations else ""
    print(f"{would} {len(done.files)} files, {sum(file.size for file in done.files)} bytes{and_metadata}.")


def _verify(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels.upkeep.verify import Fault, verify

    damaged = 0
    for item in verify(store, options.rounds or None):
        wrong = [fault for fault in item.faults if fault.fault is not Fault.EXTRA]
        damaged += len(wrong)
        verdict = "as published" if not wrong else f"{len(wrong)} NOT as published"
        print(f"round {item.generation.round}: {item.files} files, {item.file_bytes} bytes, {verdict}")
        for fault in item.faults[:_SHOWN]:
            print(f"  {fault.fault}: {fault.file}: {fault.detail}")
        if len(item.faults) > _SHOWN:
            print(f"  ... {len(item.faults) - _SHOWN} more")
    if damaged:
        raise CommandError("restore the files from a backup, or forget the generation and run the round again.")
    return 0


def _export(store: "LabelStore", options: argparse.Namespace) -> int:
    k, to = options.round, options.to
    match options.form:
        case "parquet":
            from pipeline.labels.exchange.export_parquet import export_file

            print(f"Wrote {export_file(store, k, to)} rows to {to}.")
        case "shards":
            from pipeline.labels.exchange.export_parquet import export_shards

            print(f"Wrote {export_shards(store, k, to)} files under {to}.")
        case "npz":
            from pipeline.labels.exchange.hsmr_npz import export_npz

            print(f"Wrote {export_npz(store, k, to)} labelled people to {to}.")
        case "pseudo-gt":
            from pipeline.labels.exchange.hsmr_pseudo_gt import export_pseudo_gt

            taught = export_pseudo_gt(store, k, to, options.ranks)
            print(f"Wrote the labels of {taught} people to {to}/better_pseudo_gt.npz_r0 to _r{options.ranks - 1}.")
        case _:
            from pipeline.labels.exchange.hsmr_tars import export_tars

            for tar in export_tars(store, k, to):
                print(
                    f"{tar.url}: {tar.labelled} people labelled, {tar.unlabelled} not, {tar.left_out} samples left out"
                )
    from pipeline.labels.exchange.export_record import record_export

    generation = store.generation(k)
    record = record_export(store, generation, options.form, to, folder=options.form not in {"parquet", "npz"})
    print(f"Snapshot {generation.snapshot_id} of round {k}: {record}")
    return 0


def _check_export(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels.exchange.export_record import check_export

    record, faults = check_export(options.path)
    print(f"{options.path}: round {record.round}, snapshot {record.snapshot_id} of {record.store}, as {record.form}")
    for fault in faults[:_SHOWN]:
        print(f"  {fault}")
    if len(faults) > _SHOWN:
        print(f"  ... {len(faults) - _SHOWN} more")
    if faults:
        raise CommandError(f"{len(faults)} files are not as they were exported: export the round again.")
    if store.storage.root != record.store:
        print(f"All {len(record.files)} files are as exported. Name that store in storage.root to compare with it.")
        return 0
    published = {generation.round: generation.snapshot_id for generation in store.rounds()}
    if published.get(record.round) != record.snapshot_id:
        raise CommandError(
            f"the files are as exported, but round {record.round} is another one today: export it again."
        )
    print(f"All {len(record.files)} files are as exported, of the generation that is published today.")
    return 0


def _import(options: argparse.Namespace, overrides: list[str]) -> int:
    from pipeline.runtime.ray_environment import prepare_ray

    prepare_ray(os.environ)

    from jobs.environment import code_revision, ray_address
    from pipeline.labels import LabelStore
    from pipeline.rounds.import_round import import_round
    from pipeline.rounds.round_config import RoundConfig
    from pipeline.runtime.config import ConfigError, load_config
    from pipeline.runtime.ray_cluster import refuse_lost_paths

    if options.tars and not any(word.startswith("data.shards=") for word in overrides) and options.round == 0:
        overrides = [*overrides, f"data.shards={options.tars}"]
    config = load_config(RoundConfig, overrides)
    refuse_lost_paths(config.storage, config.data)
    try:
        source = _source(options, config.data.dataset)
        store = LabelStore(config.storage.root, config.storage.catalog)
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    done = import_round(
        options.round,
        config,
        source,
        store,
        ray_address=ray_address(),
        code_revision=code_revision(),
        force_publish=options.force_publish,
    )
    if done.already_published:
        print(f"Round {options.round} was already imported from the same labels; nothing was changed.")
    else:
        decisions = ", ".join(f"{name} {count}" for name, count in done.generation.decisions.items())
        print(f"Round {options.round} is published: {done.matched} of {done.people} people matched; {decisions}.")
    return 0


def _source(options: argparse.Namespace, dataset: str | None) -> "LabelSource":
    from pipeline.labels.exchange.label_sources import NpzSource, PseudoGtSource, TarLabels

    if found := _matched_source(options):
        print(f"{found.uri}: {found.summary}")
        return found
    if options.tars:
        return TarLabels(options.tars, dataset)
    if options.npz:
        return NpzSource(options.npz)
    source = PseudoGtSource(options.pseudo_gt)
    print(
        f"{len(source.found.labels.rows)} people with a refined label; entries in several files: "
        f"{source.found.repeated}, unusable: {source.found.unusable}"
    )
    return source


def _matched_source(options: argparse.Namespace) -> "MatchedSource | None":
    from pipeline.labels.exchange.camerahmr_npz import read_camerahmr, read_skelcf
    from pipeline.labels.exchange.label_sources import matched_source
    from pipeline.labels.exchange.sam3d_parquet import read_sam3d
    from pipeline.runtime.config import ConfigError

    forms = ((options.camerahmr, read_camerahmr), (options.skelcf, read_skelcf), (options.sam3d, read_sam3d))
    for paths, read in forms:
        if paths:
            return matched_source(paths, read, options.max_loss)
    if options.max_loss is not None:
        raise ConfigError("--max-loss goes with --skelcf, --camerahmr or --sam3d: the other files state no loss.")
    return None


def _relocate(store: "LabelStore", options: argparse.Namespace) -> int:
    from pipeline.labels import LabelStore
    from pipeline.labels.upkeep.relocate import relocate

    destination = LabelStore(options.to, options.to_catalog)
    generations = store.rounds()
    if options.dry_run:
        size = sum(generation.file_bytes for generation in generations)
        print(f"Would {'move' if options.move else 'copy'} {len(generations)} generations, {size} bytes.")
        return 0
    done = relocate(store, destination, move=options.move, progress=_progress)
    print(
        f"{'Moved' if options.move else 'Copied'} {done.generations} generations to {destination.storage.root}: "
        f"{done.copied} files copied ({done.copied_bytes} bytes), {done.found} were there; all verified."
    )
    if options.move:
        print(f"{store.storage.root} is not read any more: delete it when you like.")
    return 0


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("manage_labels", "Operate a label store.", EXAMPLES)
    add_keys(parser, _settings)
    commands = parser.add_subparsers(dest="command", required=True)
    dry = argparse.ArgumentParser(add_help=False)
    dry.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    why = argparse.ArgumentParser(add_help=False)
    why.add_argument("--reason", required=True, type=_reason, help="recorded with the generations that go")

    rollback = commands.add_parser(
        "rollback", parents=[dry, why], help="back to the state after round K; later rounds may be made again"
    )
    rollback.add_argument("round", type=int, metavar="K")
    rollback.set_defaults(run=_rollback)
    forget = commands.add_parser("forget", parents=[dry, why], help="hide a bad generation; its run may not come back")
    forget.add_argument("round", type=int, metavar="K")
    children = forget.add_mutually_exclusive_group()
    children.add_argument("--with-children", action="store_true", help="also those made from it")
    children.add_argument("--keep-children", action="store_true", help="those made from it stay")
    forget.set_defaults(run=_forget)
    commands.add_parser("withdrawn", help="what was rolled back or forgotten, and why").set_defaults(run=_withdrawn)
    expire = commands.add_parser(
        "expire", parents=[dry], help="delete withdrawn generations, dead runs and other leftovers, with their files"
    )
    expire.add_argument(
        "--older-than", type=_age, default=timedelta(days=7), metavar="AGE", help="7d (default), 12h ..."
    )
    expire.add_argument("--before-round", type=int, metavar="K", help="published generations before round K go too")
    expire.set_defaults(run=_expire)
    verify = commands.add_parser("verify", help="read every file and compare it with what was published")
    verify.add_argument("rounds", type=int, nargs="*", metavar="K", help="default: all")
    verify.set_defaults(run=_verify)
    export = commands.add_parser("export", help="a generation for others: Parquet, npz, or HSMR's tars")
    export.add_argument("round", type=int, metavar="K")
    forms = ("parquet", "shards", "npz", "tars", "pseudo-gt")
    export.add_argument("--as", dest="form", choices=forms, required=True)
    export.add_argument("--to", required=True, metavar="PATH", help="file (parquet, npz) or folder (the others)")
    export.add_argument("--ranks", type=_positive, default=8, metavar="N", help="pseudo-gt: a file for each rank (8)")
    export.set_defaults(run=_export)
    check = commands.add_parser("check-export", help="compare an export with what it was, and with its generation")
    check.add_argument("path", metavar="PATH", help="what was given to export --to")
    check.set_defaults(run=_check_export)
    _add_import(commands.add_parser("import", help="publish labels that somebody else made, as a generation"))
    relocate = commands.add_parser("relocate", parents=[dry], help="copy or move the whole store to another root")
    relocate.add_argument("--to", required=True, metavar="ROOT", help="DIR or s3://bucket/prefix")
    relocate.add_argument(
        "--to-catalog", metavar="URI", help="catalog of the new place (default: as for storage.catalog)"
    )
    way = relocate.add_mutually_exclusive_group(required=True)
    way.add_argument("--copy", action="store_true", help="both stay usable, and go their own ways")
    way.add_argument("--move", action="store_true", help="the old place refers to the new one")
    relocate.set_defaults(run=_relocate)
    return parser


def _add_import(parser: argparse.ArgumentParser) -> None:
    add_keys(parser, _import_settings)
    parser.add_argument("--round", type=int, required=True, metavar="K")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tars", metavar="PATTERN", help="HSMR's converted tars, as data.shards is written")
    source.add_argument(
        "--pseudo-gt", metavar="FILE", nargs="+", help="HSMR's better_pseudo_gt.npz_r0 ...; the last of several counts"
    )
    source.add_argument("--npz", metavar="FILE", help="poses, betas, key, person; dataset and shard where needed")
    source.add_argument("--skelcf", metavar="FILE", nargs="+", help="SKEL-CF's npz: SKEL labels by photo and box")
    source.add_argument(
        "--camerahmr", metavar="FILE", nargs="+", help="CameraHMR's npz: SMPL labels by photo and box, to be converted"
    )
    source.add_argument(
        "--sam3d", metavar="FILE", nargs="+", help="SAM 3D Body's Parquet rows with an SMPL conversion, likewise"
    )
    parser.add_argument(
        "--max-loss", type=float, metavar="X", help="by photo and box: leave out labels whose `loss` is above X"
    )
    parser.add_argument("--force-publish", type=_reason, metavar="REASON", help="as in refine_round.py")


def _import_settings() -> tuple[type, ...]:
    from pipeline.rounds.round_config import RoundConfig

    return (RoundConfig,)


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a reason in words is expected")
    return text.strip()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: 1 or more expected")
    return int(text)


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: 30d, 12h, 45m or 0s expected")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _listed(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items)


if __name__ == "__main__":
    sys.exit(main())
