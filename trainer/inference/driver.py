"""One inference run: photos in, the output folder filled. Imports what is heavy; `jobs/predict.py` is the command."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from pipeline.body import Skel
from pipeline.fit import Skelify
from pipeline.labelling.genders import with_genders
from pipeline.lenses.known_lens import KnownLenses
from pipeline.runtime.config import ConfigError
from pipeline.runtime.progress_bar import ConsoleBar
from pipeline.storage.opening import open_storage
from schemas.gender import Gender
from schemas.person import Photo, Rejection
from trainer.inference.inference_config import DEFAULT_FPS, InferenceConfig, InferenceRequest
from trainer.inference.motions import MotionsWriter
from trainer.inference.own_folder import own_folder
from trainer.inference.photo_source import open_source
from trainer.inference.placed_bodies import PlacedBodies
from trainer.inference.pose_source import PoseSource, open_poses
from trainer.inference.predicted_people import PosedPeople, PredictedPeople, PredictionRun
from trainer.inference.predictions_table import (
    PREDICTION_SCHEMA,
    SMPL_PREDICTION_SCHEMA,
    PredictionsWriter,
    write_rejections,
)
from trainer.inference.refinement import refine_predictions
from trainer.inference.surfaces import MeshWriter, OverlayWriter

PREDICTIONS_FILE = "predictions.parquet"
REJECTIONS_FILE = "rejections.parquet"
_BAR_TEXT = "photos, {task.fields[people]} people"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResult:
    """people, photos: how many were predicted and read; decisions: of the refinement, by name; motions: .mot files."""

    people: int
    photos: int
    rejections: tuple[Rejection, ...]
    decisions: Mapping[str, int]
    motions: int


def run_inference(
    request: InferenceRequest,
    config: InferenceConfig,
    *,
    code_revision: str,
    tell: Callable[[str], None] = lambda text: None,
    progress: bool = True,
) -> InferenceResult:
    """Predict everyone in the photos and write the files asked for below `request.output`.

    predictions.parquet appears last: where it is, the run was complete. Raises InputError, BoxesError, CheckpointError,
    BodyFileError, LabelStoreError, ConfigError or OSError before anything is written.
    """
    source = open_source(request)
    device = _device(config)
    found = open_poses(request, config, device, tell)
    tell(f"input: {source.what}")
    with own_folder(request.output, PREDICTIONS_FILE):
        run = PredictionRun(_as_known(source.items, config), found.poses, config.batch_size)
        files = _ResultWriters(request, found)
        refine = _refiner(request, config, found.skels)
        metadata = {**found.origin, "body_digest": found.body.digest, "code_revision": code_revision}
        schema = SMPL_PREDICTION_SCHEMA if found.skels is None else PREDICTION_SCHEMA
        people, decisions = 0, Counter[str]()
        with (
            PredictionsWriter(
                request.output / PREDICTIONS_FILE, metadata, refined=request.refine, schema=schema
            ) as table,
            ConsoleBar("predict", _BAR_TEXT, total=source.photos, shown=progress, people=0) as bar,
        ):
            for batch in map(refine, run.batches()):
                placed = found.body.place(batch)
                table.write(batch, placed)
                files.write(batch, placed)
                people += len(batch)
                decisions.update(_decisions(batch))
                line = f"{run.photos} photos, {people} people"
                bar.update(line, last=run.photos == source.photos, completed=run.photos, people=people)
            files.finish()
            rejections = (*run.rejections, *files.rejections)
            write_rejections(request.output / REJECTIONS_FILE, rejections)
    return InferenceResult(
        people=people, photos=run.photos, rejections=rejections, decisions=decisions, motions=files.motions
    )


def _as_known(items: Iterable[Photo | Rejection], config: InferenceConfig) -> Iterator[Photo | Rejection]:
    """With the lenses of photos, and the genders whose bodies people are given."""
    lenses = KnownLenses(mode=config.camera)
    for item in items:
        yield item if isinstance(item, Rejection) else with_genders(next(lenses.of([item])), config.body.gender)


def _decisions(batch: PosedPeople) -> Sequence[str]:
    """Of the refinement, if there was one."""
    return batch.refinement.decision if isinstance(batch, PredictedPeople) and batch.refinement else ()


class _ResultWriters:
    """The files beside the table, those that were asked for."""

    def __init__(self, request: InferenceRequest, found: PoseSource) -> None:
        storage, body = open_storage(str(request.output)), found.body
        self._body, self._skeleton = body, request.skeleton
        self._overlays = OverlayWriter(storage=storage, faces=body.faces, hide_photos=request.hide_photos)
        self._meshes = None
        if request.meshes is not None:
            bones = body.bone_faces if request.skeleton else None
            self._meshes = MeshWriter(storage=storage, faces=body.faces, format=request.meshes, bone_faces=bones)
        self._with_overlays = request.overlays
        self._motions = None
        if request.mot and found.skels is not None:
            fps = request.fps or DEFAULT_FPS
            self._motions = MotionsWriter(storage=storage, skels=found.skels, order=request.angles, fps=fps)

    @property
    def motions(self) -> int:
        return 0 if self._motions is None else self._motions.files

    @property
    def rejections(self) -> list[Rejection]:
        return [] if self._motions is None else self._motions.rejections

    def write(self, batch: PosedPeople, placed: PlacedBodies) -> None:
        if self._motions is not None and isinstance(batch, PredictedPeople):
            self._motions.write(batch, placed)
        if self._with_overlays or self._meshes is not None:
            surfaces = self._body.surfaces(batch, with_skeleton=self._meshes is not None and self._skeleton)
            if self._with_overlays:
                self._overlays.write(batch, placed, surfaces)
            if self._meshes is not None:
                self._meshes.write(batch, placed, surfaces)

    def finish(self) -> None:
        if self._motions is not None:
            self._motions.finish()


def _refiner(
    request: InferenceRequest, config: InferenceConfig, skels: Mapping[Gender, Skel] | None
) -> Callable[[PosedPeople], PosedPeople]:
    if not request.refine or skels is None:
        return lambda batch: batch
    fits = {gender: Skelify(skel, config.skelify) for gender, skel in skels.items()}

    def refined(batch: PosedPeople) -> PosedPeople:
        return refine_predictions(batch, fits, config.accept) if isinstance(batch, PredictedPeople) else batch

    return refined


def _device(config: InferenceConfig) -> str:
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ConfigError("device=cuda, but no GPU is to be had. Set device=cpu or auto.")
    return ("cuda" if there else "cpu") if config.device == "auto" else config.device
