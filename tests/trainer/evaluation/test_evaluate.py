"""python jobs/evaluate.py from files to tables, all data sets and both kinds of network, where the truth is known.

The truth is made of what the networks say: a first run tells it (poses do not depend on the truth), then the files are
written again, so that every figure of a second run is known beforehand, but for the last bits of float32, which depend
on the size of batches.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
from scipy.spatial.transform import Rotation

from jobs.evaluate import DATASETS, main
from pipeline.body import load_skel, load_smpl
from pipeline.body.body_files import read_smpl_joint_regressor, stored_matrix
from pipeline.image.camera import FOCAL
from schemas.keypoints import PELVIS
from schemas.person import Person, PersonId, Photo
from tests.pipeline.body.standin_archive import read_archive
from tests.trainer.evaluation.made_files import PHOTO, boxes, hmr2_fields, moyo_fields, save_networks, write_images
from trainer.checkpoint import load_checkpoint
from trainer.evaluation.crops import crop_sides
from trainer.evaluation.protocols import PROTOCOLS
from trainer.evaluation.scores import SCORED_3D
from trainer.inference.predictor import NetworkPredictor
from trainer.network.hsmr import Hsmr

N = 3
FIRST = 0.07
"""Of the box: how far 2D truths are from what HSMR says."""

UNTRUE = ["3dpw", "moyo", "h36m"]

Rows = dict[tuple[str, str], list[dict[str, Any]]]


def rows_of(output: Path) -> Rows:
    """By data set and kind of network, in the order of the file."""
    found: Rows = {}
    for row in pq.read_table(output / "people.parquet").to_pylist():
        found.setdefault((row["dataset"], row["network"]), []).append(row)
    return found


def results_of(output: Path) -> dict[tuple[str, str], dict[str, Any]]:
    content = json.loads((output / "results.json").read_text())
    return {(result["label"], result["network"]): result for result in content["results"]}


def column(rows: list[dict[str, Any]], name: str) -> torch.Tensor:
    return torch.tensor([row[name] for row in rows], dtype=torch.float64)


def with_confidence(points: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    return np.concatenate([points, np.full((*points.shape[:-1], 1), confidence)], -1)


def keypoint_fields(kind: str, points: np.ndarray) -> dict[str, np.ndarray]:
    return {f"body_keypoints_{kind}": points[:, :25], f"extra_keypoints_{kind}": points[:, 25:]}


class Case:
    """Everything on disk; `run` evaluates it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.names = write_images(self.images, N)
        self.networks = save_networks(folder)
        self.center, self.size = boxes(N)
        self.side = crop_sides(self.size)

    def write(self, dataset: str, fields: dict[str, Any]) -> None:
        np.savez(self.folder / f"{dataset}.npz", **fields)

    def run(self, output: str, datasets: list[str], *more: str) -> int:
        words = [
            word
            for dataset in datasets
            for word in ("--dataset", dataset, "--data", f"{self.folder}/{dataset}.npz", "--images", str(self.images))
        ]
        checkpoints = [word for path in self.networks.values() for word in ("--checkpoint", path)]
        return main([*words, *checkpoints, "--output", str(self.folder / output), "device=cpu", *more])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Case:
    """After both runs: `untrue`, whose truths are random and for h36m partly broken, and `out`."""
    case = Case(tmp_path_factory.mktemp("evaluation"))
    points = np.random.default_rng(1).normal(0, 0.4, (N, 44, 3))
    case.write("3dpw", hmr2_fields(case.names, **keypoint_fields("3d", with_confidence(points))))
    case.write("moyo", moyo_fields(case.names))
    write_broken(case)
    assert case.run("untrue", UNTRUE, "batch_size=2") == 0
    write_truths(case, rows_of(case.folder / "untrue"))
    assert case.run("out", list(PROTOCOLS), "run.actors=1") == 0
    return case


def write_broken(case: Case) -> None:
    """h36m.npz of eight people, of whom one can be evaluated."""
    (case.images / "cut.jpg").write_bytes((case.images / case.names[1]).read_bytes()[:2000])
    names = ["none.jpg", "cut.jpg", *case.names, *case.names[:2], "../secret.jpg"]
    points = with_confidence(np.random.default_rng(0).normal(size=(len(names), 44, 3)))
    fields = hmr2_fields(names, **keypoint_fields("3d", points))
    fields["scale"][2] = (np.nan, 50)
    fields["scale"][3] = (1.0, 2.0)
    fields["extra_keypoints_3d"][4, 2] = np.inf
    fields["extra_keypoints_3d"][5] = 0
    case.write("h36m", fields)


def write_truths(case: Case, said: Rows) -> None:
    skel = load_skel(dtype=torch.float64)
    own = said["3dpw", "hsmr"]
    points = skel.keypoints(column(own, "pose"), column(own, "betas")).numpy()

    moved = points.copy()
    moved[:, 30, 1] += 0.14  # one of the 14 that count
    moved[:, 38] += 5.0  # not one of them
    case.write("3dpw", hmr2_fields(case.names, **keypoint_fields("3d", with_confidence(moved + 3.0, 0.0))))

    turn = Rotation.random(N, rng=np.random.default_rng(2)).as_matrix()
    similar = 1.2 * points @ turn.transpose(0, 2, 1) + np.array([0.1, 2.0, 7.0])
    case.write("h36m", hmr2_fields(case.names, **keypoint_fields("3d", with_confidence(similar))))

    smpl = said["3dpw", "hmr2"]
    pose, betas = column(smpl, "pose").numpy(), column(smpl, "betas").numpy()
    case.write("emdb", hmr2_fields(case.names, body_pose=pose, betas=betas, has_body_pose=np.ones(N)))

    smpl = said["moyo", "hmr2"]
    pose, betas = column(smpl, "pose").numpy().reshape(N, 24, 3), column(smpl, "betas").numpy()
    case.write("moyo", moyo_fields(case.names, pose, betas))

    at = points + column(own, "cam_t").numpy()[:, None]
    flat = FOCAL * at[..., :2] / at[..., 2:] * case.side[:, None, None] + case.center[:, None]
    longest = case.size.max(1)
    for dataset, scale in (("coco", case.size), ("lsp", case.size)):
        truth = with_confidence(flat + np.array([FIRST, 0]) * longest[:, None, None])
        truth[0, :10, 0] += 0.05 * longest[0]  # ten keypoints of one person are beyond 0.1
        truth[1, 20] = (1e6, 1e6, 0.5)  # too little confidence to count
        case.write(dataset, hmr2_fields(case.names, **keypoint_fields("2d", truth)) | {"scale": scale})
    square = with_confidence(flat)
    case.write("posetrack", hmr2_fields(case.names, **keypoint_fields("2d", square)) | {"scale": longest})


def test_the_command_knows_every_protocol() -> None:
    assert set(DATASETS) == set(PROTOCOLS)


@pytest.mark.parametrize("dataset", ["3dpw", "coco"])
def test_predictions_are_those_of_predict_for_the_same_square(case: Case, dataset: str) -> None:
    """Crop and network, by the other way that a photo goes."""
    network = load_checkpoint(case.networks["hsmr"]).network
    assert isinstance(network, Hsmr)
    photos = [
        Photo(
            key=name, jpeg=(case.images / name).read_bytes(), width=PHOTO[0], height=PHOTO[1],
            people=(
                Person(
                    id=PersonId("x", "", name, 0), keypoints_2d=np.zeros((44, 3), np.float32),
                    keypoints_3d=np.zeros((44, 4), np.float32), center=center.astype(np.float32), side=float(side),
                    smpl=None,
                ),
            ),
        )
        for name, center, side in zip(case.names, case.center, case.side, strict=True)
    ]  # fmt: skip
    told = NetworkPredictor(network, "cpu").pose(photos)
    rows = rows_of(case.folder / "out")[dataset, "hsmr"]
    assert [row["image"] for row in rows] == case.names
    for row, guess, side in zip(rows, told, case.side, strict=True):
        assert row["pose"] == pytest.approx(guess.q.tolist(), abs=2e-4)
        assert row["cam_t"] == pytest.approx(guess.cam_t.tolist(), rel=1e-3, abs=1e-4)
        assert row["side"] == pytest.approx(side)
        assert row["focal"] == FOCAL


def test_3dpw_counts_14_points_relative_to_keypoint_39(case: Case) -> None:
    rows = rows_of(case.folder / "out")["3dpw", "hsmr"]
    assert [row["mpjpe_mm"] for row in rows] == pytest.approx([10.0] * N, abs=1e-4)
    assert min(row["pa_mpjpe_mm"] for row in rows) > 1
    assert results_of(case.folder / "out")["3dpw", "hsmr"]["measures"]["mpjpe_mm"] == pytest.approx(10, abs=1e-4)


def test_h36m_forgives_a_similarity_when_aligned(case: Case) -> None:
    rows = rows_of(case.folder / "out")["h36m", "hsmr"]
    skel = load_skel(dtype=torch.float64)
    points = skel.keypoints(column(rows, "pose"), column(rows, "betas")).numpy()
    with np.load(case.folder / "h36m.npz") as file:
        truth = np.concatenate([file["body_keypoints_3d"], file["extra_keypoints_3d"]], 1)[..., :3]
    apart = (points - points[:, PELVIS, None] - truth + truth[:, PELVIS, None])[:, list(SCORED_3D)]
    expected = 1000 * np.linalg.norm(apart, axis=-1).mean(1)
    assert [row["mpjpe_mm"] for row in rows] == pytest.approx(expected.tolist(), abs=1e-3)
    assert max(row["pa_mpjpe_mm"] for row in rows) < 1e-3


def test_truths_that_hmr2_predicts_have_no_error(case: Case) -> None:
    found = results_of(case.folder / "out")
    for dataset in ("emdb", "moyo"):
        assert max(found[dataset, "hmr2"]["measures"].values()) < 1e-3
        assert min(found[dataset, "hsmr"]["measures"].values()) > 1
    assert set(found["moyo", "hmr2"]["measures"]) == {"mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "pa_mpvpe_mm"}


def test_moyo_takes_smpl_joints_of_the_skel_skin(case: Case) -> None:
    rows = rows_of(case.folder / "out")
    own, true = rows["moyo", "hsmr"], rows["moyo", "hmr2"]
    skin = load_skel(dtype=torch.float64)(column(own, "pose"), column(own, "betas")).skin_vertices
    smpl = load_smpl(dtype=torch.float64)(column(true, "pose").reshape(N, 24, 3), column(true, "betas"))
    joints = torch.as_tensor(read_smpl_joint_regressor("open")) @ skin
    for points, truth, name in ((joints, smpl.joints, "mpjpe_mm"), (skin, smpl.vertices, "mpvpe_mm")):
        apart = points - joints[:, :1] - truth + smpl.joints[:, :1]
        expected = (1000 * apart.norm(dim=-1).mean(1)).tolist()
        assert [row[name] for row in own] == pytest.approx(expected, abs=1e-3)
    assert [row["name"] for row in own] == [f"frame_{name}" for name in case.names]


@pytest.mark.parametrize("dataset", ["coco", "lsp"])
def test_pck_counts_confident_points_in_units_of_the_box(case: Case, dataset: str) -> None:
    found = results_of(case.folder / "out")[dataset, "hsmr"]
    rates = np.where(np.arange(44) < 10, 1 - 1 / N, 1.0)
    assert found["measures"] == pytest.approx({"pck@0.05": 0.0, "pck@0.1": rates.mean()})
    assert list(found["pck_per_keypoint"]["0.1"].values()) == pytest.approx(rates.tolist())
    rows = rows_of(case.folder / "out")[dataset, "hsmr"]
    assert rows[1]["keypoint_error_box"][20] is None
    assert rows[1]["mean_error_box"] == pytest.approx(FIRST, abs=1e-6)
    assert rows[0]["keypoint_error_box"][0] == pytest.approx(FIRST + 0.05, abs=1e-6)


def test_one_number_of_scale_is_a_square_box(case: Case) -> None:
    rows = rows_of(case.folder / "out")["posetrack", "hsmr"]
    assert [row["side"] for row in rows] == pytest.approx((case.size.max(1) * 4 / 3).tolist())
    assert all(None not in row["keypoint_error_box"] for row in rows)


def test_tables_state_how_they_came_about(case: Case) -> None:
    text = (case.folder / "out/tables.md").read_text()
    assert "| 3DPW MPJPE mm | 3DPW PA-MPJPE mm | H36M-P2 MPJPE mm |" in text
    assert "| SKEL-CF, published | - | - | - | - | - | - | 85.0 | 51.4 | - | - | - |" in text
    assert "| HSMR, published | 81.5 | 54.8 | 50.4 |" in text
    assert "| HSMR, hsmr.safetensors | 10.0 |" in text
    assert "with the open body" in text
    for cell in (
        f"| HSMR, hsmr.safetensors | MOYO | {N} | 0 | male SKEL | J_regressor_SMPL_MALE |",
        f"| HMR2.0, hmr2.ckpt | 3DPW | {N} | 0 | neutral SMPL | SMPL_to_J19 | box widened to 192:256",
        "box (1.2 x tight) widened to 192:256",
        "corners cut to whole px",
    ):
        assert cell in text
    latex = (case.folder / "out/tables.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert r"J\_regressor\_SMPL\_MALE" in latex
    assert not [line for line in latex.splitlines() if "%" in line.replace(r"\%", "")]


def test_violations_are_there_for_every_set(case: Case) -> None:
    found = results_of(case.folder / "out")
    for result in found.values():
        assert set(result["violations_deg"]) == {"0", "5", "10", "20", "30"}
        for parts in result["violations_deg"].values():
            assert set(parts) == {"l_knee", "r_knee", "l_elbow", "r_elbow"}
    rows = rows_of(case.folder / "out")["coco", "hmr2"]
    largest = max(row["violation_deg"][0] for row in rows)
    assert found["coco", "hmr2"]["violations_deg"]["0"]["l_knee"]["max"] == pytest.approx(largest)
    assert largest > 0


def test_the_worst_are_drawn(case: Case) -> None:
    sheet = simplejpeg.decode_jpeg((case.folder / "out/worst/h36m/hsmr.safetensors.jpg").read_bytes())
    assert sheet.shape[1] > N * 320
    assert len(list((case.folder / "out/worst").glob("*/*.jpg"))) == 2 * len(PROTOCOLS)


def test_who_cannot_be_evaluated_is_counted_with_the_reason(case: Case) -> None:
    refused = pq.read_table(case.folder / "untrue/rejections.parquet").to_pylist()
    assert [(row["person"], row["reason"]) for row in refused] == [  # once, though there are two networks
        (0, "missing_photo"),
        (1, "undecodable_photo"),
        (2, "bad_box"),
        (3, "bad_box"),
        (4, "keypoints_not_finite"),
        (5, "missing_labels"),
        (7, "unsafe_name"),
    ]
    assert {row["dataset"] for row in refused} == {"h36m"}
    assert refused[1]["key"] == "cut.jpg"
    found = results_of(case.folder / "untrue")["h36m", "hsmr"]
    assert (found["people"], found["rejected"]) == (1, 7)


def test_figures_do_not_depend_on_the_number_of_actors(case: Case) -> None:
    write_broken(case)
    points = np.random.default_rng(1).normal(0, 0.4, (N, 44, 3))
    case.write("3dpw", hmr2_fields(case.names, **keypoint_fields("3d", with_confidence(points))))
    case.write("moyo", moyo_fields(case.names))
    assert case.run("one", UNTRUE, "batch_size=2", "run.actors=1") == 0
    one, two = (pq.read_table(case.folder / name / "people.parquet") for name in ("one", "untrue"))
    assert one.equals(two)
    assert one.num_rows == 4 * N + 2
    for name in ("tables.md", "tables.tex", "rejections.parquet", "results.json"):
        assert (case.folder / "one" / name).read_bytes() == (case.folder / "untrue" / name).read_bytes()


def test_nobody_to_evaluate(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "coco", "--data", f"{case.folder}/coco.npz", "--images", str(tmp_path)]
    words += ["--checkpoint", case.networks["hsmr"], "--output", str(tmp_path / "out"), "run.actors=1", "device=cpu"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "rejected: coco 0 seq/00.jpg: missing_photo" in said.out
    assert "nobody could be evaluated; the reasons are in" in said.err
    (result,) = results_of(tmp_path / "out").values()
    assert result["measures"] == {"pck@0.05": None, "pck@0.1": None}
    assert result["rejected"] == N


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--dataset", "coco"], 2, "2 --dataset, 1 --data, 1 --images: each data set needs its file"),
        (["--checkpoint", "{hsmr}"], 2, "is given twice"),
        (["batch_siz=3"], 2, "Unknown key 'batch_siz'. Did you mean batch_size"),
        (["batch_size=0"], 2, "batch_size=0: at least 1 person expected"),
        (["body.source=/nowhere"], 1, "body.source='/nowhere' is not a folder"),
        (["--checkpoint", "/no/such.ckpt"], 1, "there is no checkpoint file /no/such.ckpt"),
        (["--output", "{folder}/out"], 2, "holds the results.json of a finished run"),
        (["--dataset", "coco", "--data", "{folder}/3dpw.npz", "--images", "{folder}"], 2, "body_keypoints_2d"),
        (["--dataset", "moyo", "--data", "{folder}/3dpw.npz", "--images", "{folder}"], 2, "no field 'img_paths'"),
        (["--dataset", "lsp", "--data", "{folder}/lsp.npz", "--images", "{folder}/none"], 2, "of lsp, is no folder"),
        (["--dataset", "3dpw", "--data", "{folder}/3dpw.npz", "--images", "{folder}"], 2, "two files of this name"),
    ],
)
def test_what_is_wrong_is_said(
    case: Case, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--dataset", "3dpw", "--data", f"{case.folder}/3dpw.npz", "--images", str(case.images)]
    given += ["--checkpoint", case.networks["hsmr"], "--output", str(case.folder / "never")]
    filled = [word.format(folder=case.folder, hsmr=case.networks["hsmr"]) for word in words]
    assert main([*given, *filled]) == code
    said = capsys.readouterr().err
    assert said.startswith("evaluate: ")
    assert message in said
    assert not (case.folder / "never").exists()


def test_moyo_needs_its_regressor_in_the_body_folder(
    case: Case, standin_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = tmp_path / "body"
    body.mkdir()
    for file in standin_folder.iterdir():
        if "SMPL_MALE" not in file.name:
            (body / file.name).symlink_to(file)
    words = ["--checkpoint", case.networks["hsmr"], "--images", str(case.images), f"body.source={body}"]
    words += ["--output", str(tmp_path / "out")]
    assert main(["--dataset", "moyo", "--data", f"{case.folder}/moyo.npz", *words]) == 1
    assert "J_regressor_SMPL_MALE.pkl is in none of" in capsys.readouterr().err
    words += ["--output", str(case.folder / "out")]  # finished: refused once all is read
    assert main(["--dataset", "3dpw", "--data", f"{case.folder}/3dpw.npz", *words]) == 2
    assert "WARNING: hsmr.safetensors was trained on another body" in capsys.readouterr().out


def test_the_regressor_of_official_files_is_read(standin_folder: Path, golden_dir: Path) -> None:
    expected = stored_matrix(read_archive(golden_dir / "standin_body"), "J_regressor_SMPL").toarray()
    np.testing.assert_array_equal(read_smpl_joint_regressor(standin_folder), expected)
