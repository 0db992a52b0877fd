"""One part of a data set through one network: rows of the result. A pure function, which actors call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.body import Smpl
from pipeline.image.camera import MIN_DEPTH
from pipeline.image.person_camera import PersonCamera, principal_point
from schemas.person import Rejection, RejectionReason
from trainer.checkpoint import Network
from trainer.evaluation.evaluation_set import EvaluationSet
from trainer.evaluation.network_poses import NetworkPoses, camera_told, network_poses
from trainer.evaluation.output_bodies import Bodies, OutputBody, Surface
from trainer.evaluation.part import Part, ReadablePeople, readable_people, rejection, truth_from_smpl
from trainer.evaluation.protocols import Protocol
from trainer.evaluation.rows import row_table
from trainer.evaluation.scores import Scores, box_errors, keypoint_scores, surface_scores


@dataclass(frozen=True, slots=True)
class PartScores:
    """rows: as `trainer.evaluation.rows.ROW_SCHEMA` says."""

    rows: pa.Table
    rejections: tuple[Rejection, ...]


class NamedNetwork(NamedTuple):
    """A network under its name in tables; kind: `hsmr` or `hmr2`."""

    name: str
    kind: str
    network: Network


def score_part(part: Part, named: NamedNetwork, bodies: Bodies, device: str) -> PartScores:
    """Predict everyone of a part and compare with the truth, as the part's protocol says."""
    found = readable_people(part)
    rejections = list(found.rejections)
    if not found.numbers:
        return PartScores(row_table({"person": []}), tuple(rejections))
    cameras = [
        camera_told(named.network, size, center, float(side))
        for size, center, side in zip(found.photo_size, found.people.center, found.side, strict=True)
    ]
    poses = network_poses(named.network, found.patches, cameras, device)
    whole = [place for place, finite in enumerate(poses.finite) if finite]
    for place in set(range(len(found.numbers))) - set(whole):
        detail = f"{named.name}: the network's answer holds NaN or infinity"
        number = part.numbers.index(found.numbers[place])
        rejections.append(rejection(part, number, RejectionReason.PREDICTION_UNUSABLE, detail))
    poses = NetworkPoses(poses.pose[whole], poses.betas[whole], poses.cam_t[whole])
    rows = _rows(part, named, _only(found, whole), [cameras[place] for place in whole], poses, bodies)
    return PartScores(rows, tuple(rejections))


def _only(found: ReadablePeople, places: list[int]) -> ReadablePeople:
    return ReadablePeople(
        numbers=[found.numbers[place] for place in places],
        people=found.people.rows(places),
        side=found.side[places],
        photo_size=[found.photo_size[place] for place in places],
        patches=found.patches[places],
        rejections=[],
    )


def _rows(
    part: Part,
    named: NamedNetwork,
    found: ReadablePeople,
    cameras: Sequence[PersonCamera],
    poses: NetworkPoses,
    bodies: Bodies,
) -> pa.Table:
    people = found.people
    body = bodies.of(named.kind, people.genders)
    violations = body.violations(poses.pose)
    count = len(found.numbers)
    columns: dict[str, Sequence[Any]] = {
        "dataset": [part.dataset] * count,
        "checkpoint": [named.name] * count,
        "network": [named.kind] * count,
        "gender": bodies.genders(named.kind, people.genders),
        "person": found.numbers,
        "name": people.names,
        "image": people.images,
        "photo_width": [width for width, _ in found.photo_size],
        "photo_height": [height for _, height in found.photo_size],
        "center": people.center.tolist(),
        "side": found.side.tolist(),
        "violation_deg": violations.best.rad2deg().tolist(),
        "violation_first_deg": violations.first.rad2deg().tolist(),
        "pose": poses.pose.tolist(),
        "betas": poses.betas.tolist(),
        "cam_t": poses.cam_t.tolist(),
        "focal": [float(camera.focal) for camera in cameras],
        "camera_turn": [camera.turn.tolist() for camera in cameras],
    }
    if count:
        columns |= _errors(part.protocol, found, cameras, poses, body, bodies.hmr2.smpl)
    return row_table(columns)


def _errors(
    protocol: Protocol,
    found: ReadablePeople,
    cameras: Sequence[PersonCamera],
    poses: NetworkPoses,
    body: OutputBody,
    truth_body: Smpl,
) -> dict[str, list[Any]]:
    device = truth_body.device
    pose, betas, cam_t = (x.to(device) for x in (poses.pose, poses.betas, poses.cam_t))
    turn = torch.as_tensor(np.stack([camera.rotation for camera in cameras])).to(device)
    with torch.inference_mode():
        if protocol.truth == "smpl":
            own = Surface(*(points @ turn.mT for points in body.surface(pose, betas)))
            return _lists(surface_scores(own, _true_surface(found.people, truth_body)))
        points = body.keypoints(pose, betas)
        if protocol.truth == "keypoints_3d":
            truth = _true_keypoints(found.people, protocol, truth_body)
            return _lists(keypoint_scores(points @ turn.mT, truth))
        moved = ((points + cam_t[:, None]) @ turn.mT).cpu()
        return _box_columns(found, _projected(moved, found, cameras))


def _lists(scores: Scores) -> dict[str, list[Any]]:
    return {name: values.cpu().tolist() for name, values in scores.items()}


def _true_surface(people: EvaluationSet, body: Smpl) -> Surface:
    posed = body(*(torch.as_tensor(x).to(body.device) for x in (people.pose, people.betas)))
    return Surface(posed.joints, posed.vertices)


def _true_keypoints(people: EvaluationSet, protocol: Protocol, body: Smpl) -> Float[Tensor, "B 44 3"]:
    truth = torch.as_tensor(people.keypoints_3d[..., :3]).to(body.device)
    made = truth_from_smpl(people, protocol)
    if any(made):
        pose, betas = (torch.as_tensor(x[made]).to(body.device) for x in (people.pose, people.betas))
        truth[torch.tensor(made)] = body(pose, betas).keypoints
    return truth


def _projected(
    points: Float[Tensor, "B 44 3"], found: ReadablePeople, cameras: Sequence[PersonCamera]
) -> Float[Tensor, "B 44 2"]:
    """Points in the axes of the photo's camera to crop units, by the pinhole that each person's camera stands for."""
    focal = torch.tensor([camera.focal for camera in cameras], dtype=torch.float64)[:, None, None]
    places = [
        (principal_point(camera, center, side) - center) / side
        for camera, center, side in zip(cameras, found.people.center, found.side, strict=True)
    ]
    flat = points[..., :2] / points[..., 2:].clamp_min(MIN_DEPTH)
    return focal * flat + torch.as_tensor(np.stack(places))[:, None]


def _box_columns(found: ReadablePeople, predicted: Float[Tensor, "B 44 2"]) -> dict[str, list[Any]]:
    people = found.people
    truth = [
        _crop_units(points, center, float(side))
        for points, center, side in zip(people.keypoints_2d, people.center, found.side, strict=True)
    ]
    unit = torch.as_tensor(found.side / people.size.max(1))
    errors, valid = box_errors(predicted, torch.as_tensor(np.stack(truth)), unit)
    values = [
        [error if counts else None for error, counts in zip(*row, strict=True)]
        for row in zip(errors.tolist(), valid.tolist(), strict=True)
    ]
    means = [float(row[counts].mean()) if counts.any() else None for row, counts in zip(errors, valid, strict=True)]
    return {"keypoint_error_box": values, "mean_error_box": means}


def _crop_units(points: np.ndarray, center: np.ndarray, side: float) -> np.ndarray:
    return np.concatenate([(points[:, :2] - center) / side, points[:, 2:]], 1)
