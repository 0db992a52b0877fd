"""One part through one network, without Ray: networks with a camera of their own, and answers that are none."""

from dataclasses import replace
from math import hypot
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body import load_skel
from pipeline.image.person_camera import crop_to_photo, person_camera
from pipeline.lenses.known_lens import centred_lens
from pipeline.runtime.config import BodyConfig
from schemas.camera import CameraSource
from schemas.gender import GenderChoice
from schemas.person import RejectionReason
from tests.trainer.evaluation.made_files import PHOTO, boxes, write_images
from tests.trainer.networks import SMALL
from trainer.checkpoint import Network
from trainer.evaluation.crops import crop_sides
from trainer.evaluation.evaluation_config import EvaluationInput
from trainer.evaluation.evaluation_set import EvaluationSet
from trainer.evaluation.output_bodies import Bodies, load_bodies
from trainer.evaluation.part import Part
from trainer.evaluation.part_scores import NamedNetwork, PartScores, score_part
from trainer.evaluation.protocols import PROTOCOLS
from trainer.evaluation.rows import row_table
from trainer.evaluation.worst import worst_people
from trainer.network.hmr2 import Hmr2
from trainer.network.hsmr import Hsmr

N = 3
CENTER, SIZE = boxes(N)
SIDE = crop_sides(SIZE)


@pytest.fixture(scope="module")
def bodies() -> Bodies:
    return load_bodies(BodyConfig(), "cpu", smpl_joints=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, N)
    return folder


def part_of(images: Path, dataset: str, keypoints_2d: np.ndarray | None = None) -> Part:
    """People 10 to 12 of a file."""
    people = EvaluationSet(
        images=[f"seq/{number:02d}.jpg" for number in range(N)],
        names=["a", "b", "c"],
        center=CENTER,
        size=SIZE,
        keypoints_2d=np.ones((N, 44, 3)) if keypoints_2d is None else keypoints_2d,
        keypoints_3d=np.random.default_rng(0).normal(size=(N, 44, 4)),
        pose=np.zeros((N, 24, 3)),
        betas=np.zeros((N, 10)),
        has_smpl=np.ones(N, bool),
        genders=[None, "female", "male"],
    )
    return Part(dataset=dataset, protocol=PROTOCOLS[dataset], images=images, numbers=range(10, 10 + N), people=people)


def score(part: Part, network: Network, bodies: Bodies) -> PartScores:
    kind = "hsmr" if isinstance(network, Hsmr) else "hmr2"
    return score_part(part, NamedNetwork("net", kind, network.eval()), bodies, "cpu")


def column(scores: PartScores, name: str) -> np.ndarray:
    return np.array(scores.rows[name].to_pylist())


def test_a_network_that_is_told_cameras_is_told_the_usual_lens(images: Path, bodies: Bodies) -> None:
    """Its answer holds in the axes of a camera that looks at the crop; it is drawn through the photo's lens."""
    torch.manual_seed(0)
    network = Hsmr(replace(SMALL, camera="full"))
    first = score(part_of(images, "coco"), network, bodies)
    lens = centred_lens(hypot(*PHOTO), *PHOTO, CameraSource.PRIOR)
    cameras = [person_camera(lens, center, float(side)) for center, side in zip(CENTER, SIDE, strict=True)]
    assert column(first, "focal") == pytest.approx([camera.focal for camera in cameras])
    assert column(first, "camera_turn") == pytest.approx(np.array([camera.turn for camera in cameras]), abs=1e-6)
    pose, betas = (torch.tensor(column(first, name)) for name in ("pose", "betas"))
    at = load_skel(dtype=torch.float64).keypoints(pose, betas).numpy() + column(first, "cam_t")[:, None]
    seen = np.array([camera.focal for camera in cameras])[:, None, None] * at[..., :2] / at[..., 2:]
    drawn = [crop_to_photo(points, lens, camera) for points, camera in zip(seen, cameras, strict=True)]
    truth = np.concatenate([np.stack(drawn), np.ones((N, 44, 1))], -1)
    again = score(part_of(images, "coco", truth), network, bodies)
    assert column(again, "mean_error_box").max() < 1e-9


def test_3d_truths_are_compared_in_the_axes_of_the_photo(images: Path, bodies: Bodies) -> None:
    torch.manual_seed(0)
    network = Hsmr(replace(SMALL, camera="full"))
    part = part_of(images, "3dpw")
    first = score(part, network, bodies)
    lens = centred_lens(hypot(*PHOTO), *PHOTO, CameraSource.PRIOR)
    turns = [person_camera(lens, center, float(side)).rotation for center, side in zip(CENTER, SIDE, strict=True)]
    assert np.abs(np.stack(turns) - np.eye(3)).max() > 0.05
    pose, betas = (torch.tensor(column(first, name)) for name in ("pose", "betas"))
    points = load_skel(dtype=torch.float64).keypoints(pose, betas).numpy() @ np.stack(turns).transpose(0, 2, 1)
    truth = np.concatenate([points, np.ones((N, 44, 1))], -1)
    again = score(replace(part, people=replace(part.people, keypoints_3d=truth)), network, bodies)
    assert column(again, "mpjpe_mm").max() < 1e-9


@pytest.mark.parametrize("dataset", ["3dpw", "coco", "moyo"])
@pytest.mark.parametrize("kind", [Hsmr, Hmr2])
def test_answers_that_are_not_finite_are_rejected(
    images: Path, bodies: Bodies, dataset: str, kind: type[Hsmr] | type[Hmr2]
) -> None:
    torch.manual_seed(0)
    network = kind(SMALL)
    buffer = network.head.init_betas if isinstance(network, Hsmr) else network.smpl_head.init_betas
    buffer[0, 3] = torch.nan
    found = score(part_of(images, dataset), network, bodies)
    assert found.rows.num_rows == 0
    assert [(one.person, one.key, one.reason) for one in found.rejections] == [
        (10 + number, f"seq/{number:02d}.jpg", RejectionReason.PREDICTION_UNUSABLE) for number in range(N)
    ]
    assert "net: the network's answer holds NaN" in found.rejections[0].detail


def test_numbers_are_those_of_the_file(images: Path, bodies: Bodies) -> None:
    torch.manual_seed(0)
    part = part_of(images, "moyo")
    broken = replace(part, people=replace(part.people, pose=part.people.pose.copy()))
    broken.people.pose[1, 2] = np.inf
    found = score(broken, Hmr2(SMALL), bodies)
    assert column(found, "person").tolist() == [10, 12]
    assert [(one.person, one.reason) for one in found.rejections] == [(11, RejectionReason.SMPL_NOT_FINITE)]
    alone = score(replace(part, numbers=range(12, 13), people=part.people.rows([2])), Hmr2(SMALL), bodies)
    assert alone.rows["name"].to_pylist() == ["c"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_truths_beyond_all_bounds_are_rejected(images: Path, bodies: Bodies, value: float) -> None:
    keypoints = np.ones((N, 44, 3))
    keypoints[0, 7] = (value, 3.0, 0.4)  # does not count
    keypoints[1, 7] = (value, 3.0, 0.9)
    keypoints[2, 7, 2] = value
    found = score(part_of(images, "coco", keypoints), Hmr2(SMALL), bodies)
    assert column(found, "person").tolist() == [10]
    assert column(found, "keypoint_error_box")[0, 7] is None
    assert [(one.person, one.reason) for one in found.rejections] == [
        (11, RejectionReason.KEYPOINTS_NOT_FINITE),
        (12, RejectionReason.KEYPOINTS_NOT_FINITE),
    ]
    part = part_of(images, "3dpw")
    part.people.keypoints_3d[0, 30, 1] = value
    part.people.keypoints_3d[1, 38] = value  # is not scored
    assert column(score(part, Hmr2(SMALL), bodies), "person").tolist() == [11, 12]


def test_the_worst_are_24_of_those_with_an_error() -> None:
    errors = [None, *np.random.default_rng(0).permutation(40).astype(float).tolist()]
    rows = row_table({"person": range(41), "mpjpe_mm": errors, "mean_error_box": [None] * 41})
    source = EvaluationInput(label="3dpw", dataset="3dpw", data="", images=Path())
    assert [row["mpjpe_mm"] for row in worst_people(source, rows)] == list(range(39, 15, -1))
    assert worst_people(replace(source, dataset="coco"), rows) == []


@pytest.mark.parametrize("dataset", ["3dpw", "coco", "moyo"])
def test_each_person_is_posed_by_the_body_of_their_gender(images: Path, two_bodies: Path, dataset: str) -> None:
    torch.manual_seed(0)
    network, part = Hsmr(SMALL), part_of(images, dataset)
    choices: tuple[GenderChoice, ...] = ("male", "female", "auto")
    loaded = {
        choice: load_bodies(BodyConfig(source=str(two_bodies), gender=choice), "cpu", smpl_joints=True)
        for choice in choices
    }
    scores = {choice: score(part, network, bodies).rows.to_pylist() for choice, bodies in loaded.items()}
    given: list[GenderChoice] = ["male", "female", "male"]
    assert [row["gender"] for row in scores["auto"]] == given
    measure = "mean_error_box" if dataset == "coco" else "mpjpe_mm"
    for place, gender in enumerate(given):
        assert scores["auto"][place][measure] == pytest.approx(scores[gender][place][measure], rel=1e-9)
        assert abs(scores["male"][place][measure] / scores["female"][place][measure] - 1) > 1e-4, "the bodies differ"
    assert loaded["auto"].of("hsmr", part.people.genders).name == "auto: 2 male, 1 female SKEL"
    assert loaded["male"].of("hsmr", part.people.genders).name == "male SKEL"
    assert {row["gender"] for row in score(part, Hmr2(SMALL), loaded["auto"]).rows.to_pylist()} == {None}
