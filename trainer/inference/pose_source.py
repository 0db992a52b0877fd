"""Where the poses of an inference run come from, and which body they are of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pipeline.body import Skel, load_smpl
from pipeline.body.gendered_skel import load_skels, skels_digest
from pipeline.labels import LabelStore, Lineage
from schemas.gender import Gender
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.inference.inference_config import InferenceConfig, InferenceRequest
from trainer.inference.known_spread import KnownSpread
from trainer.inference.label_poses import LabelPoses
from trainer.inference.photo_source import InputError
from trainer.inference.posed_person import PosesOfPhotos
from trainer.inference.predictor import NetworkPredictor
from trainer.inference.shown_body import ShownBody, ShownSkel, ShownSmpl
from trainer.inference.smpl_predictor import SmplPredictor
from trainer.inference.two_stage import TwoStagePredictor
from trainer.network.hmr2 import Hmr2

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseSource:
    """origin: what the table's metadata say of the poses. skels: the bodies by gender where they are
    SKEL's, which refinement and motions need.
    """

    poses: PosesOfPhotos
    body: ShownBody
    origin: Mapping[str, str]
    skels: Mapping[Gender, Skel] | None


def open_poses(request: InferenceRequest, config: InferenceConfig, device: str, tell: Tell) -> PoseSource:
    """Raises InputError, CheckpointError, BodyFileError, LabelStoreError."""
    if request.labels is not None:
        return _of_labels(request, request.labels, config, device, tell)
    if request.checkpoint is None:
        raise InputError("Say where poses come from: --checkpoint FILE or --labels ROUND.")
    checkpoint = load_checkpoint(request.checkpoint)
    tell(f"poses: {request.checkpoint} (sha256 {checkpoint.digest[:12]}) on {device}")
    origin = {"checkpoint": request.checkpoint, "checkpoint_sha256": checkpoint.digest}
    if isinstance(checkpoint.network, Hmr2):
        return _of_hmr2(request, checkpoint, checkpoint.network, config, device, tell, origin)
    if request.convert:
        raise InputError(f"--convert: {request.checkpoint} predicts SKEL by itself. Leave it out.")
    skels = _skels(config, device)
    _compare(checkpoint, skels_digest(skels), tell)
    poses = NetworkPredictor(checkpoint.network, device, KnownSpread.of(checkpoint.info))
    return PoseSource(poses=poses, body=ShownSkel(skels), origin=origin, skels=skels)


def _of_labels(request: InferenceRequest, round: int, config: InferenceConfig, device: str, tell: Tell) -> PoseSource:
    if request.convert:
        raise InputError("--convert: the labels of a round are SKEL's. Leave it out.")
    skels = _skels(config, device)
    store = LabelStore(config.storage.root, config.storage.catalog)
    generation = store.generation(round)
    _compare_labels(store.lineage(round), skels, tell)
    tell(f"poses: labels of round {round} under {store.storage.root}")
    origin = {"labels_round": str(round), "labels_snapshot_id": str(generation.snapshot_id)}
    return PoseSource(
        poses=LabelPoses(store, round, config.body.gender), body=ShownSkel(skels), origin=origin, skels=skels
    )


def _of_hmr2(
    request: InferenceRequest,
    checkpoint: Checkpoint,
    network: Hmr2,
    config: InferenceConfig,
    device: str,
    tell: Tell,
    origin: Mapping[str, str],
) -> PoseSource:
    """SMPL as it is predicted, or SKEL by conversion."""
    if request.convert:
        skels = _skels(config, device)
        tell("bodies: SMPL, converted to SKEL")
        poses = TwoStagePredictor.of(network, device, config.body)
        return PoseSource(poses=poses, body=ShownSkel(skels), origin={**origin, "converted_from": "smpl"}, skels=skels)
    asked = {"--mot": request.mot, "--refine": request.refine, "--skeleton": request.skeleton}
    if needed := [option for option, wanted in asked.items() if wanted]:
        raise InputError(
            f"{', '.join(needed)}: {request.checkpoint} holds an HMR2.0 network, which predicts SMPL, and SKEL is "
            "needed. Add --convert."
        )
    smpl = load_smpl(config.body.source, device=device, dtype=torch.float64)
    _compare(checkpoint, smpl.digest, tell)
    tell("bodies: SMPL")
    return PoseSource(poses=SmplPredictor(network, device), body=ShownSmpl(smpl), origin=origin, skels=None)


def _skels(config: InferenceConfig, device: str) -> dict[Gender, Skel]:
    return load_skels(config.body.source, config.body.gender, device, torch.float64)


def _compare_labels(lineage: Lineage, skels: Mapping[Gender, Skel], tell: Tell) -> None:
    """Generations from before their lineage had the digest of each body are not compared."""
    for gender, skel in skels.items():
        _compare_bodies(lineage.skel_digests.get(gender, skel.digest), skel.digest, tell)


def _compare(checkpoint: Checkpoint, digest: str, tell: Tell) -> None:
    if checkpoint.info is not None:
        _compare_bodies(checkpoint.info.body_digest, digest, tell)


def _compare_bodies(theirs: str, ours: str, tell: Tell) -> None:
    if theirs != ours:
        tell(
            f"WARNING: these poses belong to another body (digest {theirs[:12]}, this one {ours[:12]}): the same betas "
            "are other shapes here. Set body.source and body.gender as in the training or the round."
        )
