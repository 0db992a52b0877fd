"""An evaluation from files to tables: every data set asked of every network, by Ray actors over parts of people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pipeline.export.file_names import safe_name
from pipeline.rounds.pool import ActorPool, GivenUp
from pipeline.runtime.config import BodyConfig
from pipeline.runtime.ray_cluster import Placement, place, ray_session, resolve_device, shipped_packages
from schemas.person import Rejection
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.checkpoint.network_weights import kind_of
from trainer.evaluation.actor import EvaluationActor, EvaluationBrief, EvaluationTask, NamedCheckpoint
from trainer.evaluation.evaluation_config import EvaluationConfig, EvaluationInput, EvaluationRequest
from trainer.evaluation.evaluation_set import EvaluationFileError, EvaluationSet
from trainer.evaluation.hmr2_file import read_hmr2_file
from trainer.evaluation.moyo_file import read_moyo_file
from trainer.evaluation.output_bodies import Bodies, OutputBody, load_bodies
from trainer.evaluation.part import Part
from trainer.evaluation.part_scores import PartScores
from trainer.evaluation.progress import EvaluationProgress
from trainer.evaluation.results_file import write_results
from trainer.evaluation.rows import ROW_SCHEMA, write_rows
from trainer.evaluation.summary import METHODS, Result, measures_of, pck_per_keypoint, violations_in
from trainer.evaluation.table_text import latex, markdown
from trainer.evaluation.tables import tables
from trainer.evaluation.worst import worst_sheet
from trainer.inference.own_folder import own_folder
from trainer.inference.predictions_table import write_rejections

RESULTS_FILE = "results.json"


class EvaluationFailedError(RuntimeError):
    """Some people could not be evaluated for a reason of ours, so that there are no figures of the whole set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """results: a data set through a network each, in the order asked; text: the tables, Markdown."""

    results: Sequence[Result]
    rejections: Sequence[Rejection]
    text: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A checkpoint that was opened, and what it holds; body_digest: of the body it was trained on, if it says so."""

    file: NamedCheckpoint
    kind: str
    body_digest: str | None


def run_evaluation(
    request: EvaluationRequest,
    config: EvaluationConfig,
    *,
    ray_address: str | None = None,
    code_revision: str = "unknown",
    tell: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Evaluate and write people.parquet, rejections.parquet, tables.md, tables.tex, worst/ and, last, results.json.

    Raises EvaluationFileError, CheckpointError, BodyFileError, InputError, ConfigError or OSError before anything is
    written; EvaluationFailedError or ActorStartError afterwards.
    """
    with_genders = config.body.gender == "auto"
    sets = {source.label: _read(source, with_genders=with_genders) for source in request.inputs}
    everyone = [gender for people in sets.values() for gender in people.genders]
    known = [_open(*pair) for pair in zip(request.names, request.checkpoints, strict=True)]
    config = replace(config, body=_absolute(config.body))
    bodies = load_bodies(config.body, "cpu", smpl_joints=_needs_smpl_joints(request, known))
    for checkpoint in known:
        _describe(checkpoint, bodies.of(checkpoint.kind, everyone), tell)
    with (
        own_folder(request.output, RESULTS_FILE),
        ray_session(ray_address, config.run.actors, shipped_packages(request)),
    ):
        config = replace(config, device=resolve_device(config.device, "device", ray_address))
        rows, rejections = _score(request, config, sets, known)
        results = [
            _result(source, sets[source.label], checkpoint, _rows_of(rows, source, checkpoint), bodies)
            for checkpoint in known
            for source in request.inputs
        ]
        written = tables(results, open_body=config.body.source == "open")
        origin = {"code_revision": code_revision, "body_source": config.body.source, "device": config.device}
        write_rows(request.output / "people.parquet", rows, origin)
        write_rejections(request.output / "rejections.parquet", rejections)
        (request.output / "tables.md").write_text(markdown(written), encoding="utf-8")
        (request.output / "tables.tex").write_text(latex(written), encoding="utf-8")
        _write_worst(request, sets, known, rows, bodies)
        write_results(request.output / RESULTS_FILE, results, origin)
    return Evaluation(results=results, rejections=rejections, text=markdown(written))


def _absolute(body: BodyConfig) -> BodyConfig:
    """Actors need not share the driver's working folder."""
    return body if body.source == "open" else replace(body, source=str(Path(body.source).expanduser().absolute()))


def _read(source: EvaluationInput, *, with_genders: bool) -> EvaluationSet:
    if not source.images.is_dir():
        raise EvaluationFileError(f"{source.images}, given as --images of {source.label}, is no folder.")
    if source.protocol.format == "moyo":
        return read_moyo_file(source.data, with_genders=with_genders)
    return read_hmr2_file(source.data, source.protocol, with_genders=with_genders)


def _needs_smpl_joints(request: EvaluationRequest, known: Sequence[_Known]) -> bool:
    """Whether anyone compares SKEL with SMPL."""
    surfaces = any(source.protocol.truth == "smpl" for source in request.inputs)
    return surfaces and any(checkpoint.kind == "hsmr" for checkpoint in known)


def _open(name: str, address: str) -> _Known:
    checkpoint = load_checkpoint(address)
    digest = None if checkpoint.info is None else checkpoint.info.body_digest
    file = NamedCheckpoint(name=name, address=address, digest=checkpoint.digest)
    return _Known(file, kind_of(checkpoint.network), digest)


def _describe(checkpoint: _Known, body: OutputBody, tell: Callable[[str], None]) -> None:
    name, kind = checkpoint.file.name, METHODS[checkpoint.kind]
    tell(f"{name}: {kind} (sha256 {checkpoint.file.digest[:12]}), {body.name}")
    if checkpoint.kind == "hsmr" and checkpoint.body_digest not in (None, body.digest):
        tell(
            f"WARNING: {name} was trained on another body (digest {str(checkpoint.body_digest)[:12]}, this one "
            f"{body.digest[:12]}): the same betas are other shapes here. Set body.source and body.gender as then."
        )


def _score(
    request: EvaluationRequest,
    config: EvaluationConfig,
    sets: Mapping[str, EvaluationSet],
    known: Sequence[_Known],
) -> tuple[pa.Table, list[Rejection]]:
    """Rows and rejections of everyone, in an order that does not depend on who was ready first."""
    parts = [part for source in request.inputs for part in _parts(source, sets[source.label], config.batch_size)]
    tasks = [EvaluationTask(checkpoint=one.file.name, part=part) for one in known for part in parts]
    found = list(_outcomes(request, config, known, tasks))
    rows = pa.concat_tables([ROW_SCHEMA.empty_table(), *(scores.rows for scores in found)])
    inputs, names = [source.label for source in request.inputs], [one.file.name for one in known]
    places = [
        (inputs.index(dataset), names.index(checkpoint), person)
        for dataset, checkpoint, person in zip(
            *(rows[name].to_pylist() for name in ("dataset", "checkpoint", "person")), strict=True
        )
    ]
    ordered = rows.take(pa.array(sorted(range(len(places)), key=places.__getitem__), pa.int64()))
    rejections = {rejection for scores in found for rejection in scores.rejections}  # one for all checkpoints
    order = sorted(rejections, key=lambda one: (inputs.index(one.dataset), one.person or 0, one.detail))
    return ordered.combine_chunks(), order


def _parts(source: EvaluationInput, people: EvaluationSet, size: int) -> Iterator[Part]:
    for start in range(0, len(people), size):
        numbers = range(start, min(start + size, len(people)))
        yield Part(
            dataset=source.label,
            protocol=source.protocol,
            images=source.images,
            numbers=numbers,
            people=people.rows(numbers),
        )


def _outcomes(
    request: EvaluationRequest, config: EvaluationConfig, known: Sequence[_Known], tasks: Sequence[EvaluationTask]
) -> Iterator[PartScores]:
    brief = ray.put(
        EvaluationBrief(
            body=config.body,
            device=config.device,
            smpl_joints=_needs_smpl_joints(request, known),
            checkpoints={one.file.name: one.file for one in known},
        )
    )
    placement = place(config.run.actors, config.device)
    pool: ActorPool[EvaluationTask, PartScores] = ActorPool(
        lambda: _start_actor(placement, brief), placement.actors, config.run.attempts, (CheckpointError,)
    )
    people = sum(len(task.part.numbers) for task in tasks)
    with EvaluationProgress(people=people, shown=config.run.progress) as bar:
        for outcome in pool.run(tasks):
            task = outcome.task
            if isinstance(outcome, GivenUp):
                first, last = task.part.numbers[0], task.part.numbers[-1]
                raise EvaluationFailedError(
                    f"people {first} to {last} of {task.part.dataset} by {task.checkpoint}: given up after "
                    f"{outcome.attempts} attempts: {outcome.reason}"
                )
            bar.advance(task, len(task.part.numbers))
            yield outcome.answer


def _start_actor(placement: Placement, brief: "ray.ObjectRef[EvaluationBrief]") -> Any:
    return ray.remote(num_cpus=1, num_gpus=placement.gpus_per_actor)(EvaluationActor).remote(brief)


def _rows_of(rows: pa.Table, source: EvaluationInput, checkpoint: _Known) -> pa.Table:
    return rows.filter((pc.field("dataset") == source.label) & (pc.field("checkpoint") == checkpoint.file.name))


def _result(
    source: EvaluationInput, people: EvaluationSet, checkpoint: _Known, rows: pa.Table, bodies: Bodies
) -> Result:
    body = bodies.of(checkpoint.kind, [people.genders[person] for person in rows["person"].to_pylist()])
    return Result(
        source=source,
        checkpoint=checkpoint.file.name,
        digest=checkpoint.file.digest,
        network=checkpoint.kind,
        body=body.name,
        regressor=body.regressor(source.protocol.truth),
        people=rows.num_rows,
        rejected=len(people) - rows.num_rows,
        measures=measures_of(source, rows),
        pck_per_keypoint=pck_per_keypoint(rows) if source.protocol.truth == "keypoints_2d" else {},
        violations=violations_in(rows, "violation_deg"),
        violations_first=violations_in(rows, "violation_first_deg"),
    )


def _write_worst(
    request: EvaluationRequest,
    sets: Mapping[str, EvaluationSet],
    known: Sequence[_Known],
    rows: pa.Table,
    bodies: Bodies,
) -> None:
    for source in request.inputs:
        for checkpoint in known:
            own = _rows_of(rows, source, checkpoint)
            sheet = worst_sheet(source, sets[source.label], own, bodies)
            if sheet is not None:
                path = request.output / "worst" / safe_name(source.label) / f"{safe_name(checkpoint.file.name)}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(sheet)
