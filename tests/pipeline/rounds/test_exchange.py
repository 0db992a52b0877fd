"""Labels for and from others: Parquet, npz and HSMR's tars out, npz and tars in, nobody mixed up on the way."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.manage_labels import main
from pipeline.labels import LabelStore, LabelStoreError, vectors
from pipeline.labels.exchange.export_parquet import export_file, export_shards
from pipeline.labels.exchange.hsmr_fields import HsmrLabel, label_fields, label_of, mirror
from pipeline.labels.exchange.hsmr_npz import export_npz, read_npz
from pipeline.labels.exchange.hsmr_tars import export_tars, read_tar_labels
from pipeline.labels.exchange.label_sources import LabelSource, NpzSource, TarLabels
from pipeline.rounds.import_round import Imported, import_round
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import ConfigError, load_config
from pipeline.shards import list_shards
from pipeline.shards.raw_samples import raw_samples
from schemas.labels import LABEL_SCHEMA
from schemas.skel import q_limits
from tests.pipeline.rounds.made_shards import make_samples, write_shards

pytestmark = pytest.mark.usefixtures("local_ray")

PEOPLE = 8


def settings(root: Path | str, *overrides: str) -> RoundConfig:
    quiet = [f"storage.root={root}", "run.progress=false", "run.report=false", "fit.device=cpu", "run.actors=1"]
    return load_config(RoundConfig, [*quiet, *overrides])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("exchange") / "made", make_samples(PEOPLE), 2)


@pytest.fixture(scope="module")
def store(shards: str, tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Round 0 of eight people in two shards, two of them without a label; nothing is fitted, so that it is quick."""
    folder = tmp_path_factory.mktemp("exchanged")
    low, high = q_limits()
    standing = np.where((low > 0) | (high < 0), (low + high) / 2, 0.0)
    standing[1] = np.pi  # y down
    rng = np.random.default_rng(0)
    labelled = [i for i in range(PEOPLE) if i % 4 != 3]
    np.savez(
        folder / "made.npz",
        poses=(standing + rng.normal(0, 0.02, (len(labelled), 46))).astype(np.float32),
        betas=rng.normal(0, 0.3, (len(labelled), 10)).astype(np.float32),
        pve_max=rng.uniform(0.01, 0.06, len(labelled)),
        smpl_pve_max_mm=rng.uniform(10, 60, len(labelled)),  # they are no conversions of what the shards hold
        key=np.array([f"made/{i:04d}" for i in labelled]),
        person=np.zeros(len(labelled), np.int32),
    )
    imported(folder / "labels", NpzSource(str(folder / "made.npz")), f"data.shards={shards}")
    return LabelStore(str(folder / "labels"))


def people(store: LabelStore, round: int = 0) -> dict[tuple[str, int], dict]:
    return {(row["key"], row["person"]): row for row in store.read_all(round).to_pylist()}


def imported(root: Path, source: LabelSource, *overrides: str, round: int = 0) -> Imported:
    return import_round(round, settings(root, *overrides), source, LabelStore(str(root)))


def test_parquet_in_one_file_and_per_shard(store: LabelStore, tmp_path: Path) -> None:
    assert export_file(store, 0, f"{tmp_path}/labels.parquet") == PEOPLE
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.schema.equals(LABEL_SCHEMA)
    assert table.equals(store.read_all(0))
    assert export_shards(store, 0, f"{tmp_path}/out") == 2
    assert pq.ParquetFile(tmp_path / "out/dataset=made/000001.parquet").read().equals(store.read(0, "made", "000001"))


def test_npz_has_what_the_motion_prior_reads(store: LabelStore, tmp_path: Path) -> None:
    path = f"{tmp_path}/labels.npz"
    assert export_npz(store, 0, path) == PEOPLE - 2
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["poses"].shape == (6, 46)
    assert arrays["betas"].shape == (6, 10)
    labelled = [row for row in store.read_all(0).to_pylist() if row["has_label"]]
    np.testing.assert_array_equal(arrays["poses"], np.array([row["q"] for row in labelled], np.float32))
    distance = np.array([row["pve_max_mm"] for row in labelled])
    np.testing.assert_array_equal(arrays["smpl_pve_max_mm"], distance)
    np.testing.assert_allclose(arrays["pve_max"] * 1000, np.where(distance < 50, distance, 0), err_msg="metres")
    assert arrays["key"].tolist() == [row["key"] for row in labelled]


def test_tars_keep_everything_and_add_the_label_of_each_person(store: LabelStore, shards: str, tmp_path: Path) -> None:
    written = list(export_tars(store, 0, str(tmp_path)))
    assert [(tar.labelled, tar.unlabelled, tar.left_out) for tar in written] == [(3, 1, 0), (3, 1, 0)]
    rows = people(store)
    for before, after in zip(list_shards(shards), list_shards(f"{tmp_path}/made/*.tar"), strict=True):
        for old, new in zip(raw_samples(before), raw_samples(after), strict=True):
            assert old.parts["jpg"] == new.parts["jpg"]
            for number, (was, person) in enumerate(
                zip(pickle.loads(old.parts["data.pyd"]), pickle.loads(new.parts["data.pyd"]), strict=True)
            ):
                assert {name: str(person[name]) for name in was} == {name: str(value) for name, value in was.items()}
                row = rows[new.key, number]
                assert person["orig_has_poses"] == person["flip_has_betas"] == float(row["has_label"])
                np.testing.assert_array_equal(person["orig_poses"], np.array(row["q"], np.float32))
                np.testing.assert_allclose(mirror(person["flip_poses"]), person["orig_poses"])
                np.testing.assert_array_equal(person["flip_betas"], np.array(row["betas"], np.float32))
                if row["has_label"]:
                    assert person["orig_pve_max"] == pytest.approx(row["pve_max_mm"] / 1000)
                    assert person["orig_smpl_pve_max_mm"] == row["pve_max_mm"]
                    assert person["orig_kp2d_err"] == pytest.approx(row["kp2d_error"])


def test_a_mirrored_label_is_that_of_the_mirror_image() -> None:
    q = np.random.default_rng(0).normal(size=46).astype(np.float32)
    fields = label_fields(HsmrLabel(q=q, betas=np.ones(10, np.float32), pve_max=0.02, kp2d_err=0.01))
    np.testing.assert_array_equal(mirror(fields["flip_poses"]), q)
    assert fields["flip_poses"][3] == q[10], "right hip flexion is that of the left leg"
    assert label_of(fields) is not None
    assert label_of(label_fields(None)) is None


@pytest.mark.parametrize(
    "change",
    [{"poses": np.full(46, np.nan)}, {"poses": np.zeros(45)}, {"betas": "x"}, {"has_poses": 0}, {"has_betas": 10**400}],
    ids=str,
)
def test_labels_that_are_none_are_not_read(change: dict) -> None:
    """HSMR's loader turns a NaN pose with a small PVE into valid zeros (data/README, "order trap"); we do not."""
    q, betas = np.arange(46, dtype=np.float32) / 100, np.zeros(10, np.float32)
    fields = label_fields(HsmrLabel(q=q, betas=betas, pve_max=0.0, kp2d_err=0.0))
    fields |= {f"orig_{name}": value for name, value in change.items()}
    label = label_of(fields)
    assert label is not None, "that of the mirror image is left"
    np.testing.assert_array_equal(label.q, q)
    assert label_of(fields | {f"flip_{name}": value for name, value in change.items()}) is None


def of_pve(pve_max: float) -> HsmrLabel:
    numbers = {"q": np.full(46, pve_max, np.float32), "betas": np.zeros(10, np.float32)}
    return HsmrLabel(**numbers, pve_max=pve_max, kp2d_err=0.0)


@pytest.mark.parametrize(("orig", "flip", "taken"), [(0.01, 0.02, "orig"), (0.4, 0.02, "flip"), (0.4, 0.5, "orig")])
def test_the_mirror_image_s_label_is_taken_where_it_alone_passes(orig: float, flip: float, taken: str) -> None:
    made = [of_pve(x) for x in (orig, flip)]
    fields = {name: value for name, value in label_fields(made[0]).items() if name.startswith("orig")}
    fields |= {name: value for name, value in label_fields(made[1]).items() if name.startswith("flip")}
    label = label_of({name: value for name, value in fields.items() if "smpl" not in name})
    assert label is not None
    assert label.pve_max == np.float32({"orig": orig, "flip": flip}[taken])
    expected = fields["orig_poses"] if taken == "orig" else mirror(fields["flip_poses"])
    np.testing.assert_array_equal(label.q, expected)


def test_exported_tars_come_back_as_the_same_labels(store: LabelStore, tmp_path: Path) -> None:
    list(export_tars(store, 0, str(tmp_path / "tars")))
    pattern = f"{tmp_path}/tars/made/{{000000..000001}}.tar"
    done = imported(tmp_path / "labels", TarLabels(pattern), f"data.shards={pattern}")
    assert (done.matched, done.people) == (6, PEOPLE)
    assert done.generation.decisions == {"imported": 6, "no_label": 2}
    back = LabelStore(str(tmp_path / "labels"))
    assert_same_labels(store, back)
    assert (back.lineage(0).imported_from or "").startswith(pattern)
    assert imported(tmp_path / "labels", TarLabels(pattern), f"data.shards={pattern}").already_published


def test_an_exported_npz_comes_back_as_the_same_labels(store: LabelStore, shards: str, tmp_path: Path) -> None:
    export_npz(store, 0, f"{tmp_path}/labels.npz")
    imported(tmp_path / "labels", NpzSource(f"{tmp_path}/labels.npz"), f"data.shards={shards}")
    assert_same_labels(store, LabelStore(str(tmp_path / "labels")))


def assert_same_labels(one: LabelStore, other: LabelStore) -> None:
    before, after = people(one), people(other)
    assert before.keys() == after.keys()
    for who, row in before.items():
        assert after[who]["has_label"] == row["has_label"]
        for name in ("q", "betas"):
            np.testing.assert_array_equal(after[who][name], row[name])
        if row["has_label"]:
            assert after[who]["kp2d_error"] == pytest.approx(row["kp2d_error"], rel=1e-4)
            np.testing.assert_allclose(after[who]["cam_t"], row["cam_t"], rtol=1e-3, atol=1e-4)


def test_in_a_later_round_an_imported_label_must_be_better(store: LabelStore, shards: str, tmp_path: Path) -> None:
    """Round 0 with a spoilt label each, then the good labels as an import of round 1; then the spoilt ones again."""
    list(export_tars(store, 0, str(tmp_path / "good")))
    good = f"{tmp_path}/good/made/{{000000..000001}}.tar"
    spoilt = tmp_path / "spoilt.npz"
    rows = [row for row in people(store).values() if row["has_label"]]
    q = np.array([row["q"] for row in rows], np.float32)
    q[:, [3, 10]] += 1.0  # both hips
    q[:, 1] += 1.5  # and lying: what they are held to since can be wrong, keypoints tell
    np.savez(
        spoilt,
        poses=q,
        betas=np.array([row["betas"] for row in rows], np.float32),
        smpl_pve_max_mm=np.full(len(rows), np.nan),
        key=np.array([row["key"] for row in rows]),
        person=np.array([row["person"] for row in rows]),
    )
    root = tmp_path / "labels"
    imported(root, NpzSource(str(spoilt)), f"data.shards={shards}")
    better = imported(root, TarLabels(good), round=1)
    assert better.generation.decisions == {"improved": 6, "no_label": 2}
    assert {row["start_source"] for row in people(LabelStore(str(root)), 1).values()} == {"imported", "none"}
    worse = imported(root, NpzSource(str(spoilt)), round=2)
    assert worse.generation.decisions == {"kept_gross_misfit": 6, "no_label": 2}
    final = LabelStore(str(root)).read_all(2)
    np.testing.assert_array_equal(vectors(final["q"]), vectors(LabelStore(str(root)).read_all(1)["q"]))


def test_labels_of_other_people_are_refused(store: LabelStore, shards: str, tmp_path: Path) -> None:
    path = tmp_path / "others.npz"
    np.savez(path, poses=np.zeros((1, 46)), betas=np.zeros((1, 10)), key=np.array(["x"]), person=np.array([0]))
    with pytest.raises(ConfigError, match="no label of anybody"):
        imported(tmp_path / "labels", NpzSource(str(path)), f"data.shards={shards}")
    assert LabelStore(str(tmp_path / "labels")).rounds() == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.zeros((2, 45))}, r"poses of shape \('N', 46\) expected, met \(2, 45\)"),
        ({"poses": np.zeros((2, 46)), "betas": np.zeros((2, 10))}, "key of shape .* met nothing"),
        (
            {
                "poses": np.zeros((2, 46)),
                "betas": np.zeros((2, 10)),
                "key": np.array(["a", "a"]),
                "person": np.array([1, 1]),
            },
            "twice. Add dataset and shard",
        ),
        ({"poses": np.array([{}], dtype=object)}, "cannot be read safely|no npz that can be read safely"),
    ],
)
def test_an_npz_that_cannot_be_used_says_why(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays, allow_pickle=True)
    with pytest.raises(LabelStoreError, match=message):
        read_npz(str(tmp_path / "bad.npz"))


def test_hostile_samples_are_not_passed_on(store: LabelStore, tmp_path: Path) -> None:
    """A pickle that runs something would run on the machine of whoever gets the export."""

    class Gadget:
        def __reduce__(self) -> tuple:
            return (print, ("owned",))

    tar = tmp_path / "in" / "made" / "000000.tar"
    tar.parent.mkdir(parents=True)
    with tarfile.open(tar, "w") as out:
        for name, data in (
            ("bad.jpg", b"x"),
            ("bad.data.pyd", pickle.dumps([Gadget()])),
            ("../up.jpg", b"x"),
            ("../up.data.pyd", pickle.dumps([{}])),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    (info,) = list_shards(str(tar))
    assert [sample.key for sample in raw_samples(info)] == ["bad"]
    assert [sample.people for sample in raw_samples(info)] == [None]
    assert read_tar_labels(info) == {}


def test_the_command_exports_and_imports(store: LabelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"storage.root={store.storage.root}"
    assert main(["export", "0", "--as", "tars", "--to", f"{tmp_path}/tars", root]) == 0
    assert "3 people labelled, 1 not, 0 samples left out" in capsys.readouterr().out
    there = f"storage.root={tmp_path}/labels"
    command = ["import", "--round", "0", "--tars", f"{tmp_path}/tars/made/*.tar", there, "fit.device=cpu"]
    assert main([*command, "run.progress=false", "run.report=false"]) == 0
    assert "6 of 8 people matched; imported 6, no_label 2." in capsys.readouterr().out
    assert main([*command, "run.progress=false", "run.report=false"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert main(["export", "7", "--as", "npz", "--to", f"{tmp_path}/x.npz", root]) == 1
    assert "Round 7 is not published" in capsys.readouterr().err
