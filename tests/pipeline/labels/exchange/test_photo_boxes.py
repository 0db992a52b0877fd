"""Who is whom by photo and box: names as far as they tell, boxes that overlap best, and nobody guessed."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.labels.exchange.photo_boxes import CENTRE_LIMIT, SIDE_LIMIT, BoxIndex, PhotoBoxes, Undecided, image_path
from schemas.person import Person, PersonId

Box = tuple[float, float, float]
HERE: Box = (100.0, 100.0, 50.0)


def person(key: str, box: Box = HERE, number: int = 0) -> Person:
    return Person(
        id=PersonId("set", "000000", key, number),
        keypoints_2d=np.zeros((44, 3), np.float32),
        keypoints_3d=np.zeros((44, 4), np.float32),
        center=np.array(box[:2], np.float32),
        side=box[2],
        smpl=None,
    )


def index(images: Sequence[str], boxes: Sequence[Box] | None = None) -> BoxIndex:
    found = np.array(boxes or [HERE] * len(images), np.float64)
    return BoxIndex(PhotoBoxes(images=list(images), center=found[:, :2], side=found[:, 2]))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b/0001.JPG", ("a", "b", "0001")),
        ("a\\b\\0001.png", ("a", "b", "0001")),
        ("./0001", ("0001",)),
        ("/a//0001.v2", ("a", "0001.v2")),
        ("", ()),
    ],
)
def test_an_image_s_name(name: str, path: tuple[str, ...]) -> None:
    assert image_path(name) == path


@pytest.mark.parametrize(
    ("images", "key", "row"),
    [
        (["train/0001.jpg", "train/0002.jpg"], "train/0002", 1),
        (["data/train/0001.jpg"], "train/0001", 0),  # as many folders as both tell
        (["0001.jpg"], "train/0001", 0),
        (["aic-train/0001.jpg"], "aic-train-vitpose/0001", 0),  # one image alone has the name
        (["a/0001.jpg", "b/0001.jpg"], "b/0001", 1),
        (["a/0001.jpg", "b/0001.jpg"], "c/0001", None),
        (["train/0001.jpg"], "train/1", None),
        (["", "."], "train/1", None),
    ],
)
def test_photos_are_found_by_name(images: Sequence[str], key: str, row: int | None) -> None:
    assert index(images).find([person(key)]) == [row]


def test_a_photo_that_could_be_two_is_none() -> None:
    (answer,) = index(["a/0001.jpg", "b/a/0001.jpg"]).find([person("0001")])
    assert isinstance(answer, Undecided)
    assert answer.detail == "the file has 2 images for 0001: a/0001, b/a/0001"


def test_an_image_that_two_photos_could_be_is_neither_s() -> None:
    """But who agrees in the folder comes before who has the name alone."""
    found = index(["0001.jpg"]).find([person("a/0001"), person("b/0001")])
    assert all(isinstance(answer, Undecided) for answer in found)
    assert index(["a/0001.jpg"]).find([person("b/0001"), person("a/0001")])[1] == 0
    assert index(["a/0001.jpg"]).find([person("b/0001"), person("a/0001")])[0] is None
    found = index(["x/0001.jpg"]).find([person("a/0001"), person("b/0001")])
    assert all(isinstance(answer, Undecided) for answer in found)


def test_people_of_one_photo_are_told_apart_by_their_boxes() -> None:
    boxes = [(100.0, 100.0, 50.0), (130.0, 100.0, 50.0), (100.0, 100.0, 80.0)]
    found = index(["p.jpg"] * 3, boxes)
    rounded = [(130.4, 99.6, 50.2), (99.7, 100.3, 79.5), (100.2, 99.8, 50.4)]
    assert found.find([person("p", box, number) for number, box in enumerate(rounded)]) == [1, 2, 0]


@pytest.mark.parametrize(
    ("box", "row"),
    [
        ((100 + 0.9 * CENTRE_LIMIT * 50, 100, 50), 0),
        ((100 + 1.1 * CENTRE_LIMIT * 50, 100, 50), None),
        ((100, 100, 50 * SIDE_LIMIT - 0.1), 0),
        ((100, 100, 50 * SIDE_LIMIT + 0.1), None),
        ((100, 100, 50 / SIDE_LIMIT - 0.1), None),
    ],
)
def test_a_box_that_differs_too_much_is_another_person_s(box: Box, row: int | None) -> None:
    assert index(["p.jpg"]).find([person("p", box)]) == [row]


def test_two_boxes_that_are_as_good_decide_nothing() -> None:
    """Two of the file for one person, and two people for one of the file."""
    (answer,) = index(["p.jpg"] * 2, [HERE, (100.5, 100.0, 50.0)]).find([person("p")])
    assert isinstance(answer, Undecided)
    assert "overlap by 1.00 and by 0.98" in answer.detail
    found = index(["p.jpg"]).find([person("p"), person("p", number=1)])
    assert all(isinstance(answer, Undecided) for answer in found)


def test_one_label_goes_to_the_better_of_two_people() -> None:
    near = (102.0, 101.0, 50.0)
    assert index(["p.jpg"]).find([person("p", near), person("p", HERE, 1)]) == [None, 0]


@pytest.mark.parametrize(
    "box", [(np.nan, 100, 50), (100, np.inf, 50), (100, 100, 0), (100, 100, -50), (1e308, 0, 1e308)]
)
def test_boxes_that_are_none_are_nobody_s(box: Box) -> None:
    found = index(["p.jpg", "p.jpg"], [box, HERE])
    assert found.unsound == 1
    assert found.find([person("p")]) == [1]


def test_overlaps_are_those_of_squares() -> None:
    """Against the areas of boxes drawn on a fine grid."""
    from pipeline.labels.exchange.photo_boxes import _overlaps

    rng = np.random.default_rng(0)
    center, side = rng.normal(100, 0.5, (20, 2)), rng.uniform(49, 53, 20)
    found = _overlaps(center[:10], side[:10], center[10:], side[10:])
    grid = np.stack(np.meshgrid(np.linspace(60, 140, 801), np.linspace(60, 140, 801)), -1)
    inside = [(np.abs(grid - c) <= s / 2).all(-1) for c, s in zip(center, side, strict=True)]
    for i in range(10):
        for j in range(10):
            both, either = (inside[i] & inside[10 + j]).sum(), (inside[i] | inside[10 + j]).sum()
            assert found[i, j] == pytest.approx(both / either, abs=0.01)
