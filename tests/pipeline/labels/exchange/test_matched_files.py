"""Label files that go by photo and box: what is read of them, in which axes and units, and what is refused and why."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.body.representation import orientation_to_matrix
from pipeline.image.person_camera import person_camera
from pipeline.labels import LabelStoreError
from pipeline.labels.exchange.camerahmr_npz import read_camerahmr, read_skelcf
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.exchange.label_sources import matched_source
from pipeline.labels.exchange.matched_rows import MatchedRows
from pipeline.labels.exchange.sam3d_parquet import MAX_ROWS, read_sam3d
from schemas.camera import CameraSource, Lens
from schemas.person import SmplLabel
from tests.pipeline.labels.exchange.test_photo_boxes import person

SIDE = np.array([50.0, 80.0, 120.0])
CENTER = np.array([[100.0, 100.0], [200.0, 90.0], [320.0, 160.0]])
CAMERA = np.array([[700.0, 0.0, 240.0], [0.0, 700.0, 160.0], [0.0, 0.0, 1.0]])
PEOPLE = [person(f"train/{i}", (*CENTER[i], SIDE[i])) for i in range(3)]
Arrays = dict[str, Any]


def arrays(**changes: Any) -> Arrays:
    """Of a CameraHMR file; None takes a field out."""
    rng = np.random.default_rng(0)
    made = {
        "imgname": np.array([f"train/{i}.jpg" for i in range(3)]),
        "center": CENTER,
        "scale": SIDE / 200,
        "pose_cam": rng.normal(0, 0.3, (3, 72)).astype(np.float32),
        "shape": rng.normal(0, 0.3, (3, 11)).astype(np.float32),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def skel_arrays(**changes: Any) -> Arrays:
    rng = np.random.default_rng(1)
    pose = rng.normal(0, 0.3, (3, 46)).astype(np.float32)
    return arrays(**{"skel_poses": pose, "skel_betas": arrays()["shape"], "pose_cam": None, "shape": None} | changes)


def sam_rows(**changes: Any) -> Arrays:
    """Columns of SAM 3D Body; None takes one out."""
    corner = CENTER - SIDE[:, None] / 2
    made = {
        "image": [f"train/{i}.jpg" for i in range(3)],
        "bbox": np.concatenate([corner, corner + SIDE[:, None]], 1).tolist(),
        "mhr_valid": [True] * 3,
        "loss": [0.1, 0.2, 0.3],
        "smpl_pose": arrays()["pose_cam"].tolist(),
        "smpl_betas": arrays()["shape"][:, :10].tolist(),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def written(folder: Path, name: str, content: Arrays) -> str:
    path = folder / name
    if name.endswith(".npz"):
        np.savez(path, allow_pickle=True, **content)
    else:
        pq.write_table(pa.table(content), path)
    return str(path)


def labels(rows: MatchedRows, folder: Path) -> list[Any]:
    path = folder / "any"
    path.write_bytes(b"")
    return matched_source([str(path)], lambda *_: rows).of_shard("set", "000000", PEOPLE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"imgname": np.array([b"train/0.jpg", b"train/1.jpg", b"train/2.jpg"])},
        {"imgname": np.array(["train/0.jpg", "train/1.jpg", b"train/2.jpg"], object)},
        {"scale": SIDE},  # px
        {"scale": np.stack([SIDE / 200, SIDE / 300], 1)},
        {"pose": arrays()["pose_cam"].reshape(3, 24, 3), "pose_cam": None},
        {"global_orient": arrays()["pose_cam"][:, :3], "body_pose": arrays()["pose_cam"][:, 3:], "pose_cam": None},
        {"body_pose": arrays()["pose_cam"], "pose_cam": None},  # HMR2.0's has the root
        {"betas": arrays()["shape"][:, :10], "shape": None},
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_camerahmr_in_all_its_forms(changes: Arrays, tmp_path: Path) -> None:
    found = labels(read_camerahmr(written(tmp_path, "a.npz", arrays(**changes))), tmp_path)
    for row, label in enumerate(found):
        assert isinstance(label, SmplLabel)
        np.testing.assert_allclose(label.pose.reshape(72), arrays()["pose_cam"][row], atol=1e-6)
        np.testing.assert_array_equal(label.betas, arrays()["shape"][row, :10])


@pytest.mark.parametrize(
    "changes", [{}, {"poses": skel_arrays()["skel_poses"], "skel_poses": None}], ids=["skel", "plain"]
)
def test_skelcf(changes: Arrays, tmp_path: Path) -> None:
    found = labels(read_skelcf(written(tmp_path, "a.npz", skel_arrays(**changes))), tmp_path)
    for row, label in enumerate(found):
        assert isinstance(label, HsmrLabel)
        np.testing.assert_array_equal(label.q, skel_arrays()["skel_poses"][row])
        assert np.isnan(label.distance_mm)
        assert label.smpl_pve_max_mm is not None, "it is no conversion of the shard's pseudo-label"


def test_a_pose_in_the_photo_s_axes_is_turned_into_those_of_the_crop(tmp_path: Path) -> None:
    """By the file's own camera: what the person looks like from where they are seen stays the same."""
    cameras = np.repeat(CAMERA[None], 3, 0)
    smpl = labels(read_camerahmr(written(tmp_path, "a.npz", arrays(cam_int=cameras))), tmp_path)
    skel = labels(read_skelcf(written(tmp_path, "b.npz", skel_arrays(cam_int=cameras))), tmp_path)
    lens = Lens(focal_px=700.0, principal_point=np.array([240.0, 160.0]), source=CameraSource.ESTIMATED)
    for row, who in enumerate(PEOPLE):
        to_photo = person_camera(lens, who.center, who.side).rotation
        root = Rotation.from_rotvec(arrays()["pose_cam"][row, :3]).as_matrix()
        turned = Rotation.from_rotvec(smpl[row].pose[0]).as_matrix()
        np.testing.assert_allclose(to_photo @ turned, root, atol=1e-6)
        np.testing.assert_array_equal(smpl[row].pose[1:].reshape(-1), arrays()["pose_cam"][row, 3:])
        before, after = (
            orientation_to_matrix(torch.as_tensor(q[:3], dtype=torch.float64)).numpy()
            for q in (skel_arrays()["skel_poses"][row], skel[row].q)
        )
        np.testing.assert_allclose(to_photo @ after, before, atol=1e-6)
    assert np.abs(smpl[0].pose[0] - arrays()["pose_cam"][0, :3]).max() > 0.1


def test_rows_that_are_no_labels_are_counted(tmp_path: Path) -> None:
    pose, cameras = arrays()["pose_cam"].copy(), np.repeat(CAMERA[None], 3, 0)
    pose[0, 5], cameras[1, 0, 0] = np.nan, -1.0
    rows = read_camerahmr(written(tmp_path, "a.npz", arrays(pose_cam=pose, cam_int=cameras)))
    assert rows.refused == {"pose or shape not finite": 1, "no camera in cam_int": 1}
    assert [label is None for label in labels(rows, tmp_path)] == [True, True, False]
    limited = read_camerahmr(written(tmp_path, "b.npz", arrays(loss=np.array([0.1, np.nan, 0.3]))), max_loss=0.2)
    assert limited.refused == {"loss above 0.2": 2}
    assert [label is None for label in labels(limited, tmp_path)] == [False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgname": None}, "has no field 'imgname', only center, pose_cam, scale, shape"),
        ({"imgname": np.arange(3)}, "imgname is int64 of shape .3,., text expected"),
        ({"imgname": np.array(["x"] * 2)}, r"pose_cam has shape \(3, 72\), expected \(N, 72\) .*, N = 2 people"),
        ({"center": CENTER[:, :1]}, r"center has shape \(3, 1\), expected \(N, 2\)"),
        ({"scale": np.array(["a"] * 3)}, "scale is <U1 of shape .3,., numbers expected"),
        ({"pose_cam": np.zeros((3, 63))}, r"pose_cam has shape \(3, 63\), expected \(N, 72\) or \(N, 24, 3\)"),
        ({"pose_cam": None}, "has neither 'pose_cam' nor 'pose' nor 'global_orient' nor 'body_pose', only"),
        ({"shape": np.zeros((3, 9))}, r"shape has shape \(3, 9\), expected \(N, 10\) or more"),
        ({"shape": np.full((3, 10), "x")}, r"shape is <U1 of shape \(3, 10\), numbers expected"),
        ({"cam_int": np.zeros((3, 9))}, r"cam_int has shape \(3, 9\), expected \(N, 3, 3\)"),
        ({"imgname": np.array([])}, "imgname is empty"),
        ({"pose_cam": np.full((3, 72), np.nan)}, "none of 3 rows can be used .pose or shape not finite: 3."),
    ],
)
def test_a_file_that_cannot_be_used_says_why(changes: Arrays, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelStoreError, match=message):
        labels(read_camerahmr(written(tmp_path, "a.npz", arrays(**changes))), tmp_path)


def test_max_loss_needs_a_loss(tmp_path: Path) -> None:
    with pytest.raises(LabelStoreError, match="has no field 'loss'"):
        read_skelcf(written(tmp_path, "a.npz", skel_arrays()), max_loss=1.0)


def test_files_with_and_without_cameras_are_not_mixed(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, "a.npz", arrays()),
        written(tmp_path, "b.npz", arrays(cam_int=np.repeat(CAMERA[None], 3, 0))),
    ]
    with pytest.raises(LabelStoreError, match="import them one after the other"):
        matched_source(paths, read_camerahmr)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bbox_format": ["xyxy"] * 3},
        {"bbox_format": ["xywh"] * 3, "bbox": np.c_[CENTER - SIDE[:, None] / 2, SIDE, SIDE].tolist()},
        {"bbox": None, "bbox_center": CENTER.tolist(), "bbox_scale": np.stack([SIDE, SIDE / 2], 1).tolist()},
        {
            "smpl_pose": None,
            "smpl_global_orient": arrays()["pose_cam"][:, :3].tolist(),
            "smpl_body_pose": arrays()["pose_cam"][:, 3:].reshape(3, 23, 3).tolist(),
        },
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)  # fmt: skip
def test_sam3d_rows(changes: Arrays, tmp_path: Path) -> None:
    found = labels(read_sam3d(written(tmp_path, "a.parquet", sam_rows(**changes))), tmp_path)
    for row, label in enumerate(found):
        np.testing.assert_allclose(label.pose.reshape(72), arrays()["pose_cam"][row], atol=1e-6)
        np.testing.assert_array_equal(label.betas, arrays()["shape"][row, :10])


def test_sam3d_gates_are_counted_one_by_one(tmp_path: Path) -> None:
    pose: list[Any] = sam_rows()["smpl_pose"]
    rows = sam_rows(mhr_valid=[False, None, True], loss=[9.0, 0.1, 0.9])
    found = read_sam3d(written(tmp_path, "a.parquet", rows), max_loss=0.5)
    assert found.refused == {"mhr_valid false": 2, "loss above 0.5": 1}
    rows = sam_rows(smpl_pose=[pose[0], None, pose[2]], mhr_valid=[True, True, False])
    found = read_sam3d(written(tmp_path, "b.parquet", rows))
    assert found.refused == {"mhr_valid false": 1, "without an SMPL conversion": 1}
    assert [label is None for label in labels(found, tmp_path)] == [False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "has no column 'image', only bbox, mhr_valid"),
        ({"image": [1, 2, 3]}, "image is int64, text expected"),
        ({"image": ["x" * 3000] * 3}, "image is text of 3000 bytes, at most 1024 expected"),
        ({"mhr_valid": None}, "has no column 'mhr_valid'"),
        ({"mhr_valid": [1, 1, 0]}, "mhr_valid is int64, bool expected"),
        ({"bbox": [[1.0, 2.0]] * 3}, "bbox is lists of 2 numbers, 4 expected"),
        ({"bbox": None}, "has no column 'bbox_center'"),
        ({"bbox": [["a"] * 4] * 3}, r"bbox is list<.*string>, numbers expected"),
        ({"bbox_format": ["xyxy", "xywh", "xyxy"]}, "bbox_format is xywh, xyxy, xyxy or xywh expected"),
        ({"smpl_pose": None}, "has no SMPL conversion: smpl_pose, or smpl_global_orient and smpl_body_pose, expected"),
        ({"smpl_betas": [[0.0] * 9] * 3}, "smpl_betas is lists of 9 numbers, 10 expected"),
        ({"loss": None}, "has no column 'loss'"),
        ({"image": pa.array([], pa.string())}, "has no rows"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_says_why(changes: Arrays, message: str, tmp_path: Path) -> None:
    rows = sam_rows(**changes)
    if len(rows.get("image", [0])) == 0:
        rows = pa.table(sam_rows()).slice(0, 0)  # no row, but all columns
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.table(rows), tmp_path / "a.parquet")
    with pytest.raises(LabelStoreError, match=message):
        read_sam3d(str(tmp_path / "a.parquet"), max_loss=1.0)


def test_a_parquet_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A pose of 40 million zeros is a few kB in the file; so are a million rows."""
    pose = pa.ListArray.from_arrays([0, 40_000_000], pa.array(np.zeros(40_000_000, np.float32)))
    rows = {name: values[:1] for name, values in sam_rows().items()} | {"smpl_pose": pose}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(LabelStoreError, match=r"smpl_pose.* claims 40000000 values in 1 rows"):
        read_sam3d(str(tmp_path / "a.parquet"))
    nothing = pa.nulls(MAX_ROWS + 1, pa.bool_())
    names = {"image": pa.DictionaryArray.from_arrays(pa.array(np.zeros(MAX_ROWS + 1, np.int8)), ["x"])}
    pq.write_table(pa.table(names | {"mhr_valid": nothing, "smpl_pose": nothing}), tmp_path / "b.parquet")
    with pytest.raises(LabelStoreError, match=f"claims {MAX_ROWS + 1} rows, at most {MAX_ROWS}"):
        read_sam3d(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("cut", [0, 4, 100, -5])
def test_a_truncated_parquet_file_is_refused(cut: int, tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table(sam_rows()), out)
    (tmp_path / "a.parquet").write_bytes(out.getvalue()[:cut])
    with pytest.raises(LabelStoreError, match="is no Parquet file that can be read"):
        read_sam3d(str(tmp_path / "a.parquet"))


def test_all_that_decides_the_labels_is_in_the_digest(tmp_path: Path) -> None:
    """A run is known by it: with another limit, or read as another form, it is another run."""
    pose = np.zeros((3, 72), np.float32)
    both = arrays(poses=np.zeros((3, 46)), pose=pose, loss=np.zeros(3), skel_betas=arrays()["shape"])
    path = [written(tmp_path, "a.npz", both)]
    sources = [
        matched_source(path, read_camerahmr),
        matched_source(path, read_camerahmr, 0.5),
        matched_source(path, read_camerahmr, 1.0),
        matched_source(path, read_skelcf),
    ]
    assert len({source.digest for source in sources}) == 4
    assert sources[1].uri == f"{path[0]} with loss up to 0.5"
    assert matched_source(path, read_skelcf).digest == sources[3].digest
