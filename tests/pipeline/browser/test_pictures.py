"""The drawn crop is the crop of the drawn photo; the photo shelf finds who is asked for."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from pipeline.body import Skel, load_skel
from pipeline.browser.photo_shelf import Kept, NoPhotoError, PhotoShelf
from pipeline.browser.pictures import SIZES, Label, draw, pose
from pipeline.demo_set import make_demo_set
from pipeline.labels import LabelStore
from pipeline.render import PinholeCamera, crop_square, overlay_mesh
from pipeline.render.label_overlay import camera_of
from schemas.person import Person, PersonId, Photo


@pytest.fixture(scope="module")
def skel() -> Skel:
    return load_skel()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, skel: Skel) -> Path:
    folder = tmp_path_factory.mktemp("made") / "demo"
    make_demo_set(folder, people=6, shards=2, skel=skel)
    return folder


@pytest.fixture(scope="module")
def shelf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PhotoShelf:
    return PhotoShelf(LabelStore(str(tmp_path_factory.mktemp("none"))), f"{folder}/*.tar")


@pytest.fixture(scope="module")
def labels(folder: Path) -> dict[PersonId, Label]:
    """The truth as labels."""
    rows = pq.read_table(folder / "truth.parquet").to_pylist()
    return {PersonId(r["dataset"], r["shard"], r["key"], r["person"]): r | {"has_label": True} for r in rows}


def decoded(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data).astype(float)


def test_the_crop_is_drawn_as_the_whole_photo_would_be(
    shelf: PhotoShelf, labels: dict[PersonId, Label], skel: Skel
) -> None:
    for who, label in labels.items():
        photo, person = shelf.photo(who)
        own = camera_of(label)
        camera = PinholeCamera.of_label(own, person.center, person.side, photo.width, photo.height)
        skin = pose(label, skel).skin @ own.rotation.T
        whole = overlay_mesh(simplejpeg.decode_jpeg(photo.jpeg), skin, skel.faces.numpy(), camera)
        expected = crop_square(whole, person.center, person.side * 1.15, 512)
        found = decoded(draw(photo, person, label, frozenset({"skin"}), skel, 512))
        assert found.shape == expected.shape
        # Whole pixels of the photo against those of the crop: edges differ, surfaces do not.
        assert np.abs(found - expected).mean() < 6
        assert np.median(np.abs(found - expected)) < 3


def test_layers_and_sizes(shelf: PhotoShelf, labels: dict[PersonId, Label], skel: Skel) -> None:
    who, label = next(iter(labels.items()))
    photo, person = shelf.photo(who)
    plain = decoded(draw(photo, person, None, frozenset(), skel, 256))
    for layers in ({"keypoints"}, {"skin"}, {"bones"}, {"keypoints", "skin", "bones"}):
        assert np.abs(decoded(draw(photo, person, label, frozenset(layers), skel, 256)) - plain).mean() > 0.3
    without = decoded(draw(photo, person, {**label, "has_label": False}, frozenset({"skin", "bones"}), skel, 256))
    assert np.array_equal(without, plain)
    for size in SIZES:
        assert decoded(draw(photo, person, label, frozenset({"skin"}), skel, size)).shape[0] == size


def test_a_large_photo_is_decoded_smaller_and_lies_as_it_did(
    shelf: PhotoShelf, labels: dict[PersonId, Label], skel: Skel
) -> None:
    who, label = next(iter(labels.items()))
    photo, person = shelf.photo(who)
    large, whole = enlarged(photo, person, 8)
    small = decoded(draw(photo, person, label, frozenset(), skel, 128))
    assert np.abs(decoded(draw(large, whole, label, frozenset(), skel, 128)) - small).mean() < 4


def enlarged(photo: Photo, person: Person, times: int) -> tuple[Photo, Person]:
    from dataclasses import replace

    image = simplejpeg.decode_jpeg(photo.jpeg).repeat(times, 0).repeat(times, 1)
    whole = replace(person, center=((person.center + 0.5) * times - 0.5).astype(np.float32), side=person.side * times)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95)
    return replace(photo, jpeg=jpeg, width=photo.width * times, height=photo.height * times), whole


def test_bodies_have_skin_and_bones(labels: dict[PersonId, Label], skel: Skel) -> None:
    found = pose(next(iter(labels.values())), skel, bones=True)
    assert found.skin.shape == (6890, 3)
    assert found.bones is not None
    assert np.isfinite(found.skin).all()
    assert skel.skeleton_faces.max() < len(found.bones)


def test_photos_that_cannot_be_shown_say_why(shelf: PhotoShelf, labels: dict[PersonId, Label]) -> None:
    who = next(iter(labels))
    for stranger, why in (
        (who._replace(person=77), "no readable person 77"),
        (who._replace(key="../x"), "no photo"),
        (who._replace(shard="000009"), r"data\.shards has no shard"),
    ):
        with pytest.raises(NoPhotoError, match=why):
            shelf.photo(stranger)
    nowhere = PhotoShelf(shelf._store)
    with pytest.raises(NoPhotoError, match="no lineage names the shard"):
        nowhere.photo(who)


def test_what_is_kept_is_made_once_and_the_oldest_goes() -> None:
    made: list[int] = []
    kept: Kept[int, int] = Kept(2)

    def value(key: int) -> int:
        made.append(key)
        return key

    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: value(key)) == key
    assert made == [1, 2, 3, 2]
    with pytest.raises(ZeroDivisionError):
        kept.get(9, lambda: 1 // 0)
    assert kept.get(9, lambda: 9) == 9
