"""What a training run writes while it trains: checkpoint and pictures of a validation, and the curves."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image

from pipeline.runtime.config import to_yaml
from trainer.checkpoint import CheckpointInfo, save_checkpoint
from trainer.network.networks import Network
from trainer.training.held_out_pictures import HeldOutPictures
from trainer.training.held_out_spread import HeldOutSpread
from trainer.training.job import TrainingJob
from trainer.training.metrics_files import write_metrics, write_picture_events
from trainer.training.record import run_folder


def checkpoint_name(job: TrainingJob, row: Mapping[str, float]) -> str:
    """Below the storage root, of a validation's row: a file of its own, so that a better one never replaces what a
    record or a round already names.
    """
    return job.file(f"step-{int(row['step']):07d}.safetensors")


def write_checkpoint(job: TrainingJob, network: Network, spread: HeldOutSpread, row: Mapping[str, float]) -> None:
    """The network as it was judged in this row. Raises CheckpointError for weights that are not finite."""
    info = CheckpointInfo(
        variant=job.config.network.variant,
        generation_snapshot_id=job.snapshot_id,
        round=job.round,
        step=int(row["step"]),
        body_digest=job.body_digest,
        config=to_yaml(job.config),
        code_revision=job.code_revision,
        q_std=spread.q_std(),
        betas_std=spread.betas_std(),
        spread_factors=spread.factors(),
        population_std=spread.population_std(),
    )
    save_checkpoint(job.storage, checkpoint_name(job, row), network, info)


def write_pictures(job: TrainingJob, pictures: HeldOutPictures, row: Mapping[str, float]) -> None:
    """Of the validation of this row, as a PNG and for TensorBoard; none where nobody is held out."""
    if not pictures.rows:
        return
    sheet, step, sink = pictures.sheet(), int(row["step"]), io.BytesIO()
    Image.fromarray(sheet).save(sink, "PNG")
    job.storage.write(job.file(f"held_out/step-{step:07d}.png"), sink.getvalue())
    write_picture_events(job.storage, run_folder(job.round, job.training_id), step, sheet)


def write_curves(job: TrainingJob, losses: Sequence[float], history: Sequence[Mapping[str, float]]) -> None:
    """Of the whole run so far."""
    write_metrics(
        job.storage,
        round=job.round,
        training_id=job.training_id,
        snapshot_id=job.snapshot_id,
        losses=losses,
        history=history,
    )
