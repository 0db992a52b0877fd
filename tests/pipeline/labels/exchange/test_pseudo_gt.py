"""HSMR's own refined labels: read as its training writes them, merged over ranks, and written for it to read."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.manage_labels import main
from pipeline.labels import LabelStore, LabelStoreError
from pipeline.labels.exchange.hsmr_fields import mirror
from pipeline.labels.exchange.hsmr_pseudo_gt import FIELDS, export_pseudo_gt, read_pseudo_gt
from schemas.person import PersonId
from tests.pipeline.labels.label_tables import (
    CONFIG_DIGEST,
    SHARDS,
    label_table,
    lineage,
    publish_rounds,
    replace_column,
)
from tests.pipeline.rounds.made_shards import make_samples, write_shards

Entries = dict[str, tuple[np.ndarray, np.ndarray, Any, Any]]


def q_of(number: float) -> np.ndarray:
    return np.linspace(0, number, 46, dtype=np.float32)


def entry(number: float, has: Any = 1.0) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    return q_of(number), np.full(10, number, np.float32), np.float32(has), np.float32(has)


def as_training_writes(path: Path, entries: Entries) -> str:
    """np.savez of dicts by sample, one for each field: each becomes a pickled object array."""
    fields = {name: {key: values[i] for key, values in entries.items()} for i, name in enumerate(FIELDS)}
    with path.open("wb") as file:
        np.savez(file, **fields)  # pyrefly: ignore
    return str(path)


def who(key: str, person: int = 0) -> PersonId:
    return PersonId("aic", "000000", key, person)


def test_the_files_of_all_ranks_are_one_source(tmp_path: Path) -> None:
    """Keys hold slashes and underscores; where several ranks refined a sample, the last file counts."""
    first = as_training_writes(
        tmp_path / "better_pseudo_gt.npz_r0",
        {"aic_train/a_1_0_orig": entry(0.1), "aic_train/a_1_1_orig": entry(0.2), "b_0_flip": entry(0.3)},
    )
    second = as_training_writes(
        tmp_path / "better_pseudo_gt.npz_r1", {"aic_train/a_1_0_orig": entry(0.4), "c_12_orig": entry(0.5)}
    )
    found = read_pseudo_gt([first, second])
    assert (len(found.labels.rows), found.repeated, found.unusable) == (4, 1, 0)
    expected = {who("aic_train/a_1"): 0.4, who("aic_train/a_1", 1): 0.2, who("c", 12): 0.5}
    for person, number in expected.items():
        label = found.labels.label(person)
        assert label is not None
        np.testing.assert_array_equal(label.q, q_of(number))
        np.testing.assert_array_equal(label.betas, np.full(10, number, np.float32))
        assert np.isnan(label.distance_mm)
    mirrored = found.labels.label(who("b"))
    assert mirrored is not None
    np.testing.assert_array_equal(mirrored.q, mirror(q_of(0.3)), "the only label is that of the mirror image")
    assert found.labels.label(who("a_1")) is None


def test_the_photo_s_label_goes_before_its_mirror_image_s_unless_it_is_none(tmp_path: Path) -> None:
    path = as_training_writes(
        tmp_path / "r0",
        {
            "a_0_orig": entry(0.1),
            "a_0_flip": entry(0.2),
            "b_0_orig": entry(0.1, has=False),
            "b_0_flip": entry(0.2),
            "c_0_orig": entry(4.0),  # betas out of range
            "c_0_flip": entry(0.2),
            "d_0_orig": entry(float("nan")),
        },
    )
    found = read_pseudo_gt([path])
    labels = {name: found.labels.label(who(name)) for name in "abcd"}
    assert found.unusable == 2
    assert [None if label is None else float(label.betas[0]) for label in labels.values()] == [
        pytest.approx(x) if x else None for x in (0.1, 0.2, 0.2, None)
    ]


def test_a_bare_pickle_is_read_too(tmp_path: Path) -> None:
    fields = {name: {"a_0_orig": value} for name, value in zip(FIELDS, entry(0.1), strict=True)}
    (tmp_path / "r0").write_bytes(pickle.dumps(fields))
    assert read_pseudo_gt([str(tmp_path / "r0")]).labels.label(who("a")) is not None


class Gadget:
    def __reduce__(self) -> tuple:
        return (print, ("owned",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poses": {}}, "betas should be a dict"),
        ({"poses": np.zeros((2, 46))}, "poses should be a dict"),
        ({name: {} for name in FIELDS}, "no entry is a label"),
        ({name: {"nobody": np.zeros(46)} for name in FIELDS}, "no entry is a label"),
        ({"poses": {"a_0_orig": Gadget()}}, "refused the global"),
        ({"poses": {3: np.zeros(46)}, "betas": {}}, "poses should be a dict"),
    ],
    ids=["no betas", "an array", "empty dicts", "a key without a person", "a gadget", "a key that is a number"],
)
def test_what_is_no_such_file_is_refused(
    fields: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "r0").open("wb") as file:
        np.savez(file, **fields)
    with pytest.raises(LabelStoreError, match=message):
        read_pseudo_gt([str(tmp_path / "r0")])
    (tmp_path / "r0").write_bytes(pickle.dumps(fields))
    with pytest.raises(LabelStoreError, match=message):
        read_pseudo_gt([str(tmp_path / "r0")])
    assert "owned" not in capsys.readouterr().out


def test_a_generation_as_the_original_reads_it(tmp_path: Path) -> None:
    """Its own way: numpy.load with pickles, a dict out of each array. Every rank finds everybody, poor fits off."""
    store = LabelStore(str(tmp_path / "labels"))
    one_shard = SHARDS[:1]
    (dataset, shard), staging = one_shard[0], store.staging(0, "run-0", CONFIG_DIGEST)
    table = replace_column(label_table(dataset, shard), "pve_max_mm", [80.0, *[30.0] * 19])
    store.publish(lineage(0, "run-0", shards=one_shard), [staging.write(dataset, shard, table, readable=20)])
    rows = store.read_all(0).to_pylist()
    taught = export_pseudo_gt(store, 0, str(tmp_path / "out"), ranks=3)
    names = [f"better_pseudo_gt.npz_r{rank}" for rank in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert len({(tmp_path / "out" / name).read_bytes() for name in names}) == 1
    with np.load(tmp_path / "out" / names[2], allow_pickle=True) as file:
        found = {name: file[name].item() for name in FIELDS}
    counted = [row["has_label"] and row["pve_max_mm"] == 30 for row in rows]
    assert taught == sum(counted) == 17
    for row, has in zip(rows, counted, strict=True):
        orig, flip = (f"{row['key']}_{row['person']}_{side}" for side in ("orig", "flip"))
        assert found["has_poses"][orig] == found["has_betas"][flip] == float(has)
        np.testing.assert_array_equal(found["poses"][orig], np.array(row["q"], np.float32))
        np.testing.assert_array_equal(mirror(found["poses"][flip]), np.array(row["q"], np.float32))
        np.testing.assert_array_equal(found["betas"][flip], np.array(row["betas"], np.float32))
    back = read_pseudo_gt([str(tmp_path / "out" / name) for name in names])
    assert len(back.labels.rows) == taught


def test_people_whom_the_files_cannot_tell_apart_are_not_exported(tmp_path: Path) -> None:
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 1)
    with pytest.raises(LabelStoreError, match="is in two shards"):
        export_pseudo_gt(store, 0, str(tmp_path / "out"), ranks=1)
    assert not (tmp_path / "out").exists()


def test_the_command_moves_refined_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In as a round of actors, out for two ranks, in again: the same labels."""
    shards = write_shards(tmp_path / "made", make_samples(6), 2)
    given = as_training_writes(
        tmp_path / "better_pseudo_gt.npz_r0", {f"made/{i:04d}_0_orig": entry(0.01 * (i + 1)) for i in range(5)}
    )
    quiet = ["run.progress=false", "run.report=false", "run.actors=1", "fit.device=cpu", f"data.shards={shards}"]
    one, two = (f"storage.root={tmp_path}/{name}" for name in ("one", "two"))
    assert main(["import", "--round", "0", "--pseudo-gt", given, one, *quiet]) == 0
    printed = capsys.readouterr().out
    assert "5 people with a refined label; entries in several files: 0, unusable: 0" in printed
    assert "5 of 6 people matched; imported 5, no_label 1." in printed
    assert main(["export", "0", "--as", "pseudo-gt", "--ranks", "2", "--to", f"{tmp_path}/out", one]) == 0
    assert "Wrote the labels of 5 people" in capsys.readouterr().out
    files = [f"{tmp_path}/out/better_pseudo_gt.npz_r{rank}" for rank in range(2)]
    assert main(["import", "--round", "0", "--pseudo-gt", *files, two, *quiet]) == 0
    tables = [LabelStore(f"{tmp_path}/{name}").read_all(0) for name in ("one", "two")]
    for name in ("key", "has_label", "q", "betas", "cam_t", "decision"):
        assert tables[0][name].equals(tables[1][name]), name
