"""Patterns to shards: order, identity, versions, and errors that name data.shards."""

import os
from pathlib import Path

import pytest

from pipeline.shards import expand_shards, list_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """real/{000000..000011}.tar of 100 + i bytes."""
    folder = tmp_path / "real"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:06d}.tar").write_bytes(b"x" * (100 + i))
    return folder


def names(urls: list[str]) -> list[str]:
    return [Path(url).name for url in urls]


def test_braces_keep_their_order_and_zeros(folder: Path) -> None:
    urls = expand_shards(f"{folder}/{{000009..000011}}.tar")
    assert urls == [f"{folder}/0000{i}.tar" for i in ("09", "10", "11")]
    assert names(expand_shards(f"{folder}/00000{{3,1}}.tar")) == ["000003.tar", "000001.tar"]


def test_stars_are_sorted_by_name(folder: Path) -> None:
    assert names(expand_shards(f"{folder}/*.tar")) == [f"{i:06d}.tar" for i in range(12)]
    assert names(expand_shards(f"{folder.parent}/*/00000{{2,1}}*")) == ["000002.tar", "000001.tar"]


def test_the_same_shard_has_the_same_url_however_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    spellings = ["000003.tar", "./000003.tar", f"file://{folder}/000003.tar", f"{folder}/../real/000003.tar"]
    assert {tuple(expand_shards(spelling)) for spelling in spellings} == {(f"{folder}/000003.tar",)}
    assert list_shards("000003.tar")[0].dataset == "real"


def test_several_patterns(folder: Path) -> None:
    assert names(expand_shards([f"{folder}/000005.tar", f"{folder}/00000{{0..1}}.tar"])) == [
        "000005.tar",
        "000000.tar",
        "000001.tar",
    ]


def test_identity_and_version(folder: Path) -> None:
    first = list_shards(f"{folder}/{{000000..000001}}.tar")
    assert [(s.dataset, s.shard, s.size) for s in first] == [("real", "000000", 100), ("real", "000001", 101)]
    assert list_shards(f"{folder}/{{000000..000001}}.tar") == first
    assert [s.dataset for s in list_shards(f"{folder}/*.tar", "mine")] == ["mine"] * 12
    os.utime(folder / "000001.tar", ns=(1, 1))
    second = list_shards(f"{folder}/{{000000..000001}}.tar")
    assert second[0] == first[0]
    assert second[1].etag != first[1].etag


def test_two_shards_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "real"
    other.mkdir(parents=True)
    (other / "000003.tar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)'real'.*'000003'.*data\.dataset"):
        list_shards([f"{folder}/000003.tar", f"{other}/000003.tar"])
    with pytest.raises(ValueError, match="'000003'"):
        list_shards([f"{folder}/000003.tar"] * 2)


@pytest.mark.parametrize(
    "pattern", ["", "  ", [], "{a.tar", "ftp://host/x.tar", "s3://", "DIR/x{0..9999999}.tar", "DIR/no*.tar"]
)
def test_patterns_that_name_nothing(pattern: str | list[str], folder: Path) -> None:
    if isinstance(pattern, str):
        pattern = pattern.replace("DIR", str(folder))
    with pytest.raises((ValueError, FileNotFoundError), match=r"data\.shards"):
        expand_shards(pattern)


def test_missing_shards_are_counted_and_named(folder: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"8 of 10 input shards not found: .*000012\.tar.* and 3 more.*data\.shards"
    ):
        expand_shards(f"{folder}/{{000010..000019}}.tar")


@pytest.mark.parametrize("dataset", ["", "..", "a/b", "a\nb", "x" * 201])
def test_a_dataset_name_must_do_for_a_folder(folder: Path, dataset: str) -> None:
    with pytest.raises(ValueError, match="dataset"):
        list_shards(f"{folder}/000000.tar", dataset)
