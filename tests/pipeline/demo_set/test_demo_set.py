"""The set as a data set: readable, complete, repeatable, and its photos agree with its truth."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from pipeline.body import Skel
from pipeline.demo_set import TRUTH_SCHEMA, DemoSet, make_demo_set
from pipeline.render import PinholeCamera, render
from pipeline.shards import expand_shards, list_shards, read_shard
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
            name: np.array(row[name], np.float32) for name in ("q", "betas", "cam_t")
        }
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
        points = keypoints_in_camera(skel, truth[who])
        camera = PinholeCamera.of_crop(person.center, person.side, 1, 1)
        distance = np.linalg.norm(person.keypoints_2d[:, :2] - camera.project(points), axis=1) / person.side * 256
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
        camera = PinholeCamera.of_crop(person.center, person.side, photo.width, photo.height)
        vertices = mesh_in_camera(skel, truth[person.id])
        mask = render(vertices, skel.faces.numpy(), (0.0, 0.0, 0.0), camera).mask
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
        pixels = PinholeCamera.of_crop(person.center, person.side, 1, 1).project(mesh_in_camera(skel, truth[who]))
        filled = np.ptp(pixels, axis=0).max() / person.side
        assert 0.75 < filled < 1.05


def keypoints_in_camera(skel: Skel, true: dict[str, np.ndarray]) -> np.ndarray:
    return skel.keypoints(*tensors(skel, true))[0].numpy() + true["cam_t"]


def mesh_in_camera(skel: Skel, true: dict[str, np.ndarray]) -> np.ndarray:
    return skel.forward(*tensors(skel, true)).skin_vertices[0].numpy() + true["cam_t"]


def tensors(skel: Skel, true: dict[str, np.ndarray]):
    return tuple(skel.template.new_tensor(true[name])[None] for name in ("q", "betas"))
