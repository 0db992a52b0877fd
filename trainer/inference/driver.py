"""One inference run: photos in, the output folder filled. Imports what is heavy; `jobs/predict.py` is the command."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from pipeline.body import Skel, load_skel
from pipeline.fit import Skelify
from pipeline.labels import LabelStore
from pipeline.lenses.known_lens import CameraMode, KnownLenses
from pipeline.runtime.config import ConfigError
from pipeline.runtime.progress_bar import ConsoleBar
from pipeline.storage.opening import open_storage
from schemas.person import Photo, Rejection
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.inference.inference_config import DEFAULT_FPS, InferenceConfig, InferenceRequest
from trainer.inference.known_spread import KnownSpread
from trainer.inference.label_poses import LabelPoses
from trainer.inference.motions import MotionsWriter
from trainer.inference.own_folder import own_folder
from trainer.inference.photo_source import InputError, open_source
from trainer.inference.posed_person import PosesOfPhotos
from trainer.inference.predicted_people import (
    PlacedBodies,
    PredictedPeople,
    PredictionRun,
    place_bodies,
)
from trainer.inference.predictions_table import PredictionsWriter, write_rejections
from trainer.inference.predictor import NetworkPredictor
from trainer.inference.refinement import refine_predictions
from trainer.inference.surfaces import MeshWriter, OverlayWriter, pose_surfaces
from trainer.network.hsmr import Hsmr

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
    skel = load_skel(config.body.source, gender=config.body.gender, device=device, dtype=torch.float64)
    poses, origin = _poses(request, config, skel, device, tell)
    tell(f"input: {source.what}")
    with own_folder(request.output, PREDICTIONS_FILE):
        run = PredictionRun(_with_lenses(source.items, config.camera), poses, config.batch_size)
        files = _ResultWriters(request, skel)
        refine = _refiner(request, config, skel)
        metadata = {**origin, "body_digest": skel.digest, "code_revision": code_revision}
        people, decisions = 0, Counter[str]()
        with (
            PredictionsWriter(request.output / PREDICTIONS_FILE, metadata, refined=request.refine) as table,
            ConsoleBar("predict", _BAR_TEXT, total=source.photos, shown=progress, people=0) as bar,
        ):
            for batch in map(refine, run.batches()):
                placed = place_bodies(batch, skel)
                table.write(batch, placed)
                files.write(batch, placed)
                people += len(batch)
                decisions.update(batch.refinement.decision if batch.refinement else ())
                line = f"{run.photos} photos, {people} people"
                bar.update(line, last=run.photos == source.photos, completed=run.photos, people=people)
            files.finish()
            rejections = (*run.rejections, *files.rejections)
            write_rejections(request.output / REJECTIONS_FILE, rejections)
    return InferenceResult(
        people=people, photos=run.photos, rejections=rejections, decisions=decisions, motions=files.motions
    )


def _with_lenses(items: Iterable[Photo | Rejection], mode: CameraMode) -> Iterator[Photo | Rejection]:
    lenses = KnownLenses(mode=mode)
    for item in items:
        yield item if isinstance(item, Rejection) else next(lenses.of([item]))


class _ResultWriters:
    """The files beside the table, those that were asked for."""

    def __init__(self, request: InferenceRequest, skel: Skel) -> None:
        storage = open_storage(str(request.output))
        self._skel, self._skeleton = skel, request.skeleton
        self._overlays = OverlayWriter(storage=storage, skel=skel, hide_photos=request.hide_photos)
        self._meshes = None
        if request.meshes is not None:
            self._meshes = MeshWriter(storage=storage, skel=skel, format=request.meshes, with_skeleton=request.skeleton)
        self._with_overlays = request.overlays
        self._motions = None
        if request.mot:
            fps = request.fps or DEFAULT_FPS
            self._motions = MotionsWriter(storage=storage, skel=skel, order=request.angles, fps=fps)

    @property
    def motions(self) -> int:
        return 0 if self._motions is None else self._motions.files

    @property
    def rejections(self) -> list[Rejection]:
        return [] if self._motions is None else self._motions.rejections

    def write(self, batch: PredictedPeople, placed: PlacedBodies) -> None:
        if self._motions is not None:
            self._motions.write(batch, placed)
        if self._with_overlays or self._meshes is not None:
            surfaces = pose_surfaces(batch, self._skel, with_skeleton=self._meshes is not None and self._skeleton)
            if self._with_overlays:
                self._overlays.write(batch, placed, surfaces)
            if self._meshes is not None:
                self._meshes.write(batch, placed, surfaces)

    def finish(self) -> None:
        if self._motions is not None:
            self._motions.finish()


def _poses(
    request: InferenceRequest, config: InferenceConfig, skel: Skel, device: str, tell: Callable[[str], None]
) -> tuple[PosesOfPhotos, dict[str, str]]:
    """Where poses come from, and what the table's metadata say of it."""
    if request.labels is not None:
        store = LabelStore(config.storage.root, config.storage.catalog)
        generation = store.generation(request.labels)
        _compare_bodies(store.lineage(request.labels).body_digest, skel, tell)
        tell(f"poses: labels of round {request.labels} under {store.storage.root}")
        origin = {"labels_round": str(request.labels), "labels_snapshot_id": str(generation.snapshot_id)}
        return LabelPoses(store, request.labels), origin
    if request.checkpoint is None:
        raise InputError("Say where poses come from: --checkpoint FILE or --labels ROUND.")
    checkpoint = load_checkpoint(request.checkpoint)
    if not isinstance(checkpoint.network, Hsmr):
        raise CheckpointError(f"{request.checkpoint} holds an HMR2.0 network, which predicts SMPL: HSMR is needed.")
    if checkpoint.info is not None:
        _compare_bodies(checkpoint.info.body_digest, skel, tell)
    tell(f"poses: {request.checkpoint} (sha256 {checkpoint.digest[:12]}) on {device}")
    origin = {"checkpoint": request.checkpoint, "checkpoint_sha256": checkpoint.digest}
    return NetworkPredictor(checkpoint.network, device, KnownSpread.of(checkpoint.info)), origin


def _compare_bodies(digest: str, skel: Skel, tell: Callable[[str], None]) -> None:
    if digest != skel.digest:
        tell(
            f"WARNING: these poses belong to another body (digest {digest[:12]}, this one {skel.digest[:12]}): the "
            "same betas are other shapes here. Set body.source to the body of the training or the round."
        )


def _refiner(
    request: InferenceRequest, config: InferenceConfig, skel: Skel
) -> Callable[[PredictedPeople], PredictedPeople]:
    if not request.refine:
        return lambda batch: batch
    skelify = Skelify(skel, config.skelify)
    return lambda batch: refine_predictions(batch, skelify, config.accept)


def _device(config: InferenceConfig) -> str:
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ConfigError("device=cuda, but no GPU is to be had. Set device=cpu or auto.")
    return ("cuda" if there else "cpu") if config.device == "auto" else config.device
