"""Rows of `truth-loop`: errors to the truth of a loop's labels and networks, by round and kind of pose."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import torch

from benchmarks.loops.made_truth import MadeTruth
from pipeline.demo_set import label_errors, mean_label_errors
from pipeline.image.camera import project
from pipeline.image.crop import CROP_PX
from pipeline.image.keypoint_error import kp2d_error
from pipeline.labels import LabelStore
from pipeline.rounds.round_config import PredictConfig
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import PersonId
from trainer.inference.held_out_people import Predicted, as_labels, held_out_photos, predict_people
from trainer.training.checkpoint_choice import predictor_of_round

Row = dict[str, object]


def label_rows(made: MadeTruth, store: LabelStore, rounds: Sequence[int]) -> list[Row]:
    """Of the people labelled in every round, which are those with a label in round 0: nobody loses one.

    kp2d_heldout_px: of the one in twenty who is fitted twice, on keypoints that the second fit did not see.
    """
    tables = [store.read_all(round) for round in rounds]
    hidden = [_column(table, "kp2d_heldout_error") for table in tables]
    errors = [label_errors(table, made.truth, made.skel) for table in tables]
    return [row for name in made.poses for row in _rows(made, "labels", name, rounds, errors, hidden)]


def network_rows(
    made: MadeTruth, store: LabelStore, rounds: Sequence[int], cross_fit: int, held_out_share: float, device: str
) -> list[Row]:
    """Of the people held out, by the network trained on the generation of each round.

    kp2d_heldout_px: on all their detected keypoints, under the camera that it predicts. It has seen none of them.
    """
    photos, errors, seen = held_out_photos(made.data.shard_pattern, held_out_share), [], []
    for round in rounds:
        source = predictor_of_round(PredictConfig(cross_fit=cross_fit), store, round + 1)
        if source is None:
            raise ValueError(f"no network of {store.storage.root} is on record for round {round}: delete that folder.")
        found = predict_people(source.load(device), photos)
        errors.append(label_errors(as_labels(found), made.truth, made.skel))
        own = zip((one.person.id for one in found), _errors(made, found), strict=True)
        seen.append({person: error for person, error in own if np.isfinite(error)})
    return [row for name in made.poses for row in _rows(made, "network", name, rounds, errors, seen)]


def _rows(
    made: MadeTruth,
    whose: str,
    poses: str,
    rounds: Sequence[int],
    errors: Sequence[pa.Table],
    hidden: Sequence[dict[PersonId, float]],
) -> list[Row]:
    among = made.poses[poses]
    means = mean_label_errors(errors, among)
    return [
        {
            "round": round,
            "whose": whose,
            "poses": poses,
            "people": mean["people"],
            "mpjpe_mm": mean["mpjpe_mm"],
            "pa_mpjpe_mm": mean["pa_mpjpe_mm"],
            "mpvpe_mm": mean["mpvpe_mm"],
            "kp2d_px": mean["kp2d_error_px"],
            "kp2d_heldout_px": _mean_px(known, among),
        }
        for round, mean, known in zip(rounds, means, hidden, strict=True)
    ]


def _mean_px(errors: dict[PersonId, float], among: Collection[PersonId] | None) -> float | None:
    chosen = [error for person, error in errors.items() if among is None or person in among]
    return float(np.mean(chosen) * CROP_PX) if chosen else None


def _column(table: pa.Table, name: str) -> dict[PersonId, float]:
    """Person -> value, of those who have one."""
    people = zip(*(table[column].to_pylist() for column in IDENTITY_COLUMNS), strict=True)
    values = zip(people, table[name].to_pylist(), strict=True)
    return {PersonId(*who): value for who, value in values if value is not None and np.isfinite(value)}


def _errors(made: MadeTruth, found: Sequence[Predicted]) -> list[float]:
    """kp2d errors of what is predicted, crop units."""
    q, betas, cam_t, focal, keypoints = (
        torch.tensor(np.array(values), dtype=made.skel.dtype, device=made.skel.device)
        for values in (
            [one.guess.q for one in found],
            [one.guess.betas for one in found],
            [one.guess.cam_t for one in found],
            [one.guess.focal for one in found],
            [one.view.keypoints for one in found],
        )
    )
    with torch.no_grad():
        return kp2d_error(project(made.skel.keypoints(q, betas), cam_t, focal), keypoints).tolist()
