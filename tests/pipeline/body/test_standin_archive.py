"""The committed golden files: small, exact, and the stand-in body the same as in its official files."""

import gzip
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.body.body_files import read_skel, read_smpl
from tests.pipeline.body.standin_archive import load, pack_folder, packed, read_archive, restored
from tests.repository import GOLDEN


def files() -> list[Path]:
    return sorted(path for path in GOLDEN.rglob("*") if path.is_file())


def assert_same_arrays(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_every_golden_file_is_small() -> None:
    assert [str(path) for path in files() if path.stat().st_size >= 2**20] == []


def test_packing_loses_nothing() -> None:
    archive = restored(load(GOLDEN / "standin_body" / "skel.npz"))
    assert_same_arrays(restored(packed(archive)), archive)


def test_packing_refuses_what_it_would_round() -> None:
    archive = restored(load(GOLDEN / "standin_body" / "skel.npz"))
    with pytest.raises(ValueError, match="posedirs is no multiple"):
        packed(archive | {"posedirs": archive["posedirs"] * np.float32(1.1)})


def test_the_packed_body_is_the_original(shared_dir: Path, tmp_path: Path) -> None:
    original = shared_dir / "golden" / "standin_body"
    expected = read_archive(original)
    assert_same_arrays(read_archive(GOLDEN / "standin_body"), expected)
    pack_folder(original, tmp_path)
    assert_same_arrays(read_archive(tmp_path), expected)


def test_the_other_files_are_the_originals(shared_dir: Path) -> None:
    for path in files():
        if path.parent == GOLDEN and path.suffix != ".md":
            assert path.read_bytes() == (shared_dir / "golden" / path.name).read_bytes(), path.name


def test_the_official_files_written_from_it_give_the_same_bodies(
    shared_dir: Path, standin_folder: Path, tmp_path: Path
) -> None:
    for path in (shared_dir / "golden" / "standin_body").glob("*.pkl.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    # Equal numbers, not equal digests: those tell -0.0 from 0.0.
    np.testing.assert_equal(asdict(read_skel(standin_folder, "male")), asdict(read_skel(tmp_path, "male")))
    np.testing.assert_equal(asdict(read_smpl(standin_folder)), asdict(read_smpl(tmp_path)))
