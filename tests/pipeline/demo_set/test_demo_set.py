"""The set as a data set: readable, complete, repeatable, and its photos agree with its truth."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
from scipy.spatial.transform import Rotation

from pipeline.body import Skel
from pipeline.body.representation import orientation_to_matrix
from pipeline.demo_set import TRUTH_SCHEMA, DemoSet, make_demo_set
from pipeline.image.person_camera import PersonCamera, photo_points, principal_point
from pipeline.image.person_view import person_view
from pipeline.lenses.known_lens import KnownLenses
from pipeline.render import PinholeCamera, render
from pipeline.shards import expand_shards, list_shards, read_shard
from schemas.camera import CameraSource
from schemas.person import Person, PersonId, Photo
from tests.pipeline.demo_set.conftest import PEOPLE, SHARDS


def photos_of(demo_set: DemoSet) -> list[Photo]:
    items = [item for info in list_shards(demo_set.shard_pattern) for item in read_shard(info)]
    assert all(isinstance(item, Photo) for item in items), "the set must be readable without a rejection"
    return [item for item in items if isinstance(item, Photo)]


def people_of(demo_set: DemoSet) -> dict[PersonId, Person]:
    return {person.id: person for photo in photos_of(demo_set) for person in photo.people}


def truth_of(demo_set: DemoSet) -> dict[PersonId, dict[str, np.ndarray]]:
    rows = pq.read_table(demo_set.truth_path).to_pylist()
    return {
        PersonId(row["dataset"], row["shard"], row["key"], row["person"]): {
            name: np.array(row[name], np.float32) for name in ("q", "betas", "cam_t", "camera_turn")
        }
        | {"focal": np.array(row["focal"])}
        for row in rows
    }


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_person_is_readable_and_has_a_truth(demo_set: DemoSet) -> None:
    assert len(expand_shards(demo_set.shard_pattern)) == SHARDS
    people, truth = people_of(demo_set), truth_of(demo_set)
    assert len(people) == PEOPLE
    assert people.keys() == truth.keys()
    assert {who.dataset for who in people} == {"demo"}
    assert pq.read_schema(demo_set.truth_path).equals(TRUTH_SCHEMA)
    sizes = {len(photo.people) for photo in photos_of(demo_set)}
    assert 1 in sizes
    assert max(sizes) > 1


def test_same_settings_give_the_same_bytes(demo_set: DemoSet, skel: Skel, tmp_path: Path) -> None:
    again = make_demo_set(tmp_path / "demo", people=PEOPLE, shards=SHARDS, seed=3, skel=skel)
    assert file_bytes(again.directory) == file_bytes(demo_set.directory)


def test_a_finished_set_is_reused_and_another_seed_replaces_it(skel: Skel, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    first = make_demo_set(folder, people=6, shards=2, seed=0, skel=skel)
    inode = (folder / "000000.tar").stat().st_ino
    make_demo_set(folder, people=6, shards=2, seed=0, skel=skel)
    assert (folder / "000000.tar").stat().st_ino == inode
    before = file_bytes(first.directory)
    make_demo_set(folder, people=6, shards=2, seed=1, skel=skel)
    assert file_bytes(folder)["truth.parquet"] != before["truth.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"], "nothing is left beside the set"


def test_a_set_that_failed_half_way_is_not_seen(skel: Skel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo"
    make_demo_set(folder, people=6, shards=2, seed=0, skel=skel)
    before = file_bytes(folder)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.demo_set.demo_set._truth_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_demo_set(folder, people=6, shards=2, seed=1, skel=skel)
    assert file_bytes(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_with_other_files_is_not_touched(skel: Skel, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds files that are no demo set"):
        make_demo_set(tmp_path, people=6, shards=2, skel=skel)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(("people", "shards"), [(2, 1), (10, 4), (5, 0)])
def test_counts_that_do_not_fit_are_refused(people: int, shards: int, skel: Skel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 shard"):
        make_demo_set(tmp_path / "demo", people=people, shards=shards, skel=skel)


def test_detections_scatter_around_the_projected_truth(demo_set: DemoSet, skel: Skel) -> None:
    """Through the reader and the stored crop: a px or two of the 256 crop off, some points far off, some lost."""
    people, truth = people_of(demo_set), truth_of(demo_set)
    errors, present, confidences = [], [], []
    for who, person in people.items():
        seen = pixels_of(person, truth[who], keypoints_of(skel, truth[who]))
        distance = np.linalg.norm(person.keypoints_2d[:, :2] - seen, axis=1) / person.side * 256
        shown = person.keypoints_2d[:, 2] > 0
        present.append(shown[:25])
        errors.append(distance[shown])
        confidences.append(person.keypoints_2d[shown, 2])
        assert (person.keypoints_2d[~shown] == 0).all()
    error, confidence = np.concatenate(errors), np.concatenate(confidences)
    assert 1.0 < np.median(error) < 4.0
    assert 0.005 < (error > 20).mean() < 0.08
    assert 0.05 < 1 - np.concatenate(present).mean() < 0.3
    assert np.corrcoef(np.log(error + 0.1), confidence)[0, 1] < -0.2


def test_pictures_show_the_truth(demo_set: DemoSet, skel: Skel) -> None:
    """The outline of the true mesh lies on edges of the photo, and an outline moved by 5 px does not."""
    truth, on_edge, beside = truth_of(demo_set), [], []
    for photo in photos_of(demo_set):
        if len(photo.people) > 1:
            continue
        person = photo.people[0]
        true = truth[person.id]
        pixels = pixels_of(person, true, vertices_of(skel, true))
        # Flat, at depth 1: drawn where the pixels are.
        flat = np.column_stack([pixels, np.ones(len(pixels))])
        camera = PinholeCamera(focal=1.0, center_x=0.0, center_y=0.0, width=photo.width, height=photo.height)
        mask = render(flat, skel.faces.numpy(), (0.0, 0.0, 0.0), camera).mask
        grey = simplejpeg.decode_jpeg(photo.jpeg).astype(float).mean(axis=2)
        steps = np.abs(np.diff(grey, axis=1))
        outline = mask[:, 1:] != mask[:, :-1]
        on_edge.append(steps[outline].mean())
        beside.append(np.mean([steps[np.roll(outline, shift, axis=1)].mean() for shift in (-5, 5)]))
    assert np.median(np.array(on_edge) / np.array(beside)) > 2
    assert np.mean(np.array(on_edge) > np.array(beside)) > 0.85


def test_boxes_hold_the_person(demo_set: DemoSet, skel: Skel) -> None:
    """The crop is about 1.1 times the tight box: the mesh fills 0.8 to 1 of it."""
    truth = truth_of(demo_set)
    for who, person in people_of(demo_set).items():
        pixels = pixels_of(person, truth[who], vertices_of(skel, truth[who]))
        filled = np.ptp(pixels, axis=0).max() / person.side
        assert 0.75 < filled < 1.05


def test_a_third_of_the_photos_says_each_thing_of_its_camera(demo_set: DemoSet) -> None:
    photos = photos_of(demo_set)
    told = Counter(person_view(photo.people[0]).source for photo in KnownLenses().of(photos))
    assert set(told) == {CameraSource.CALIBRATION, CameraSource.EXIF, CameraSource.PRIOR}
    assert max(told.values()) - min(told.values()) <= 1
    distorted = [person.lens.distortion.any() for photo in photos for person in photo.people if person.lens]
    assert any(distorted)
    assert not all(distorted)


def test_stated_lenses_are_the_true_ones(demo_set: DemoSet) -> None:
    """Exactly where the shard states them, to half a mm of 35 mm film where EXIF does."""
    truth = truth_of(demo_set)
    for photo in KnownLenses().of(photos_of(demo_set)):
        for person in photo.people:
            true = truth[person.id]
            focal_mm = true["focal"] * person.side / np.hypot(photo.width, photo.height) * np.hypot(36, 24)
            assert 27.9 < focal_mm < 85.1
            view = person_view(person)
            if view.source is CameraSource.CALIBRATION:
                assert view.focal == pytest.approx(true["focal"], rel=1e-7)
                np.testing.assert_allclose(view.turn, true["camera_turn"], atol=1e-6)
            elif view.source is CameraSource.EXIF:
                stated = view.focal * person.side / np.hypot(photo.width, photo.height) * np.hypot(36, 24)
                assert stated == pytest.approx(round(stated), abs=1e-6)
                assert abs(stated - focal_mm) < 0.501


def test_smpl_labels_look_at_the_crop_whatever_the_lens(demo_set: DemoSet) -> None:
    """As they reach a round, the labels' pelvis is off the truth's by the lean that labels have, no more."""
    truth = truth_of(demo_set)
    off: dict[CameraSource, list[float]] = {source: [] for source in CameraSource}
    for photo in KnownLenses().of(photos_of(demo_set)):
        for person in photo.people:
            view = person_view(person)
            if view.smpl is not None:
                true = orientation_to_matrix(torch.as_tensor(truth[person.id]["q"][:3])).numpy()
                found = Rotation.from_rotvec(view.smpl.pose[0]).as_matrix()
                off[view.source].append(np.rad2deg(Rotation.from_matrix(found @ true.T).magnitude()))
    for source in (CameraSource.CALIBRATION, CameraSource.EXIF, CameraSource.PRIOR):
        assert 3 < np.median(off[source]) < 12, source


def pixels_of(person: Person, true: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """Points of the true body (K, 3) to px of the photo: through its lens where the shard states it, else through the
    true pinhole without distortion, which only stated lenses have."""
    camera = PersonCamera.of_label(float(true["focal"]), true["camera_turn"])
    places = (points + true["cam_t"]) @ camera.rotation.T
    if person.lens is not None:
        return photo_points(person.lens, places)
    middle = principal_point(camera, person.center, person.side)
    return camera.focal * person.side * places[:, :2] / places[:, 2:] + middle


def keypoints_of(skel: Skel, true: dict[str, np.ndarray]) -> np.ndarray:
    return skel.keypoints(*tensors(skel, true))[0].double().numpy()


def vertices_of(skel: Skel, true: dict[str, np.ndarray]) -> np.ndarray:
    return skel.forward(*tensors(skel, true)).skin_vertices[0].double().numpy()


def tensors(skel: Skel, true: dict[str, np.ndarray]):
    return tuple(skel.template.new_tensor(true[name])[None] for name in ("q", "betas"))
