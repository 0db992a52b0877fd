"""Small files that ask for gigabytes or minutes: bounded time and memory, and a reason that names the limit."""

import gzip
import io
import pickle
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.memory import peak_bytes, reset_peak
from pipeline.body import load_skel
from pipeline.body.body_files import BodyFileError
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import ConfigError, load_config
from pipeline.safe_pickle import (
    BODY_GLOBALS,
    ForbiddenPickleError,
    MalformedPickleError,
    restricted_loads,
)
from schemas.person import RejectionReason
from tests.pipeline.shards.samples import members, person, photo_bytes, read, reasons, sample, write_tar

R = RejectionReason
MERSENNE = 2**61 - 1  # Python's hash of an integer is its remainder by this


def bounded(work: Callable[[], Any], *, seconds: float, megabytes: float) -> Any:
    """The result of `work`, which may take so much CPU and so much memory beyond what is in use."""
    reset_peak()
    before, start = peak_bytes() or 0, time.thread_time()
    result = work()
    assert time.thread_time() - start < seconds
    assert (peak_bytes() or 0) - before < megabytes * 1e6
    return result


def long1(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def colliding_tuples(n: int) -> list[tuple[int, int]]:
    """Pairs of one hash (CPython's tuples: xxHash without a seed)."""
    p1, p2, p5, m = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64

    def left(x: int) -> int:
        return (x << 31 | x >> 33) % m

    before_last = 12345678901234567 * pow(p1, -1, m) % m
    goal, found, a = (before_last >> 31 | before_last << 33) % m, [], 0
    while len(found) < n:
        a += 1
        b = (goal - left((p5 + a * p2) % m) * p1) * pow(p2, -1, m) % m
        b -= m if b >= m // 2 else 0
        if abs(b) < MERSENNE:
            found.append((a, b))
    return found


PAIRS = colliding_tuples(20_000)
KEYS = b"".join(long1(a) + long1(b) + b"\x86" for a, b in PAIRS)
ITEMS = b"".join(long1(a) + long1(b) + b"\x86N" for a, b in PAIRS)
MEMOISED = b"".join(long1(a) + long1(b) + b"\x86\x940" for a, b in PAIRS)

PICKLES = {
    "integers of one hash": b"\x80\x04}(" + b"".join(long1(k * MERSENNE) + b"N" for k in range(1, 20_000)) + b"u.",
    "integers of one hash, as text": b"(" + b"".join(b"L%dL\nN" % (k * MERSENNE) for k in range(1, 9_000)) + b"d.",
    "tuples of one hash": b"\x80\x04}(" + ITEMS + b"u.",
    "tuples of one hash, one by one": b"\x80\x04}" + ITEMS.replace(b"\x86N", b"\x86Ns") + b".",
    "tuples of one hash in a set": b"\x80\x04\x8f(" + KEYS + b"\x90.",
    "tuples of one hash in a frozenset": b"\x80\x04(" + KEYS + b"\x91.",
    "tuples of one hash in an old dict": b"\x80\x04(" + ITEMS + b"d.",
    "tuples of one hash in Python 2's set": b"\x80\x04c__builtin__\nset\n](" + KEYS + b"e\x85R.",
    "tuples of one hash from the memo": b"\x80\x04"
    + MEMOISED
    + b"}("
    + b"".join(b"j" + struct.pack("<I", i) + b"N" for i in range(20_000))
    + b"u.",
    "a million empty dicts": b"(" + b"}" * 999_000 + b"l" + b"0" * 2000 + b".",
    "nested tuples": b")" + b"\x85" * 500_000 + b".",
    "nested lists": b"]" * 400_000 + b"a" * 399_999 + b".",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a long of a million bytes, many times": b"\x80\x04("
    + (b"\x8b" + struct.pack("<i", 10**5) + b"\x7f" * 10**5) * 150
    + b"l.",
    "a memo number of 5,000 digits": b"Np" + b"0" * 5000 + b"1\n.",
    "an array of a shape of 2^40": pickle.dumps(np.zeros(3), 4).replace(
        b"K\x03\x85", b"\x8a\x06" + bytes(5) + b"\x01\x85"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_bomb_is_refused_in_little_time_and_memory(name: str) -> None:
    def load() -> str:
        try:
            restricted_loads(PICKLES[name], allowed=BODY_GLOBALS, encoding="latin1")
        except (ForbiddenPickleError, MalformedPickleError) as error:
            return str(error)
        return ""

    message = bounded(load, seconds=8, megabytes=400)
    assert message
    assert len(message) < 500


MANY_TUPLES = b"N\x850" * 6000  # made and dropped: below 5,000 nothing is checked


@pytest.mark.parametrize(
    "opcodes",
    [
        b"}N\x85Ns",
        b"}(N\x85Nu",
        b"(N\x85Nd",
        b"\x8f(N\x85\x90",
        b"(N\x85\x91",
        b"}(N\x85NbNu",  # BUILD with None leaves its object as it is
        b"}(N\x85(eNu",  # so does APPENDS of nothing
        b"}(N\x85\x940h\x00Nu",
        b"}(N\x85q\x050j\x05\x00\x00\x00Nu",
        b"}(N\x852Nu",
        b"}(KK(\x910\x85Nu",
        b"}(((ttNu",
    ],
)
def test_no_way_leads_a_tuple_to_a_hash(opcodes: bytes) -> None:
    with pytest.raises(ForbiddenPickleError, match="tuple or frozenset"):
        restricted_loads(MANY_TUPLES + opcodes + b".")


def test_honest_large_numbers_and_tuples_still_load() -> None:
    value = {"a": (1, 2), "b": [10**30, -(2**70)], b"c": {1, 2.5, "x"}, 3: frozenset({None, b"y"})}
    assert restricted_loads(pickle.dumps(value, 4)) == value
    many = [{"a": (i, (i, "b"), frozenset({i}))} for i in range(3000)]
    assert restricted_loads(pickle.dumps(many, 4)) == many
    people = [person(i) for i in range(100)]
    assert len(restricted_loads(pickle.dumps(people, 2), allowed=BODY_GLOBALS)) == 100


def one_bad(tmp_path: Path, *entries: tuple[str | tarfile.TarInfo, bytes]) -> Path:
    """A good sample, what is given, and another good sample."""
    return write_tar(tmp_path / "set" / "0.tar", [*members(sample("a")), *entries, *members(sample("c", seed=2))])


def header(name: str, size: int, kind: bytes = b"0", pax: dict[str, str] | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = size, kind, pax or {}
    return info.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "bad",
    [
        header("b.jpg", 2**40),
        header("b.data.pyd", 2**62),
        header("b.jpg", 10, pax={"size": "9" * 19}),
        header("b.jpg", 10, pax={"size": "9" * 5000}),
        header("b.jpg", 10, kind=b"x") + b"x" * 512,
        header("b.jpg", 2**30, kind=b"x"),
        header("b.jpg", 2**30, kind=b"L"),
        header("b.jpg", 2**30, kind=b"S"),
        header("b.jpg", 10, pax={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**50)}),
    ],
    ids=["photo", "labels", "PAX size", "long PAX size", "no PAX", "large PAX", "long name", "sparse", "PAX sparse"],
)
def test_declared_sizes_are_not_believed(bad: bytes, tmp_path: Path) -> None:
    good = write_tar(tmp_path / "set" / "0.tar", members(sample("a"))).read_bytes().rstrip(b"\0")
    path = tmp_path / "set" / "0.tar"
    path.write_bytes(good + bytes(-len(good) % 512) + bad + bytes(10 * 512))
    photos, rejections = bounded(lambda: read(path), seconds=2, megabytes=100)
    assert [photo.key for photo in photos] == ["a"]
    assert rejections


def test_archives_that_unpack_to_more_are_not_unpacked(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "set" / "0.tar", members(sample("a"))).read_bytes()
    path = tmp_path / "set" / "1.tar"
    path.write_bytes(gzip.compress(plain + bytes(50_000_000)))
    photos, rejections = bounded(lambda: read(path), seconds=1, megabytes=30)
    assert photos == []
    assert [r.reason for r in rejections] == [R.SHARD_UNREADABLE]
    assert "gunzip" in rejections[0].detail
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("masks.npy", bytes(200_000_000))
    path = one_bad(tmp_path, *members(sample("b", seed=1)), ("b.detection.npz", bomb.getvalue()))
    photos, rejections = bounded(lambda: read(path), seconds=2, megabytes=60)
    assert [photo.key for photo in photos] == ["a", "b", "c"]
    assert rejections == []


@pytest.mark.parametrize("labels", [b"", pickle.dumps([{"center": None}] * 1001), pickle.dumps([person()] * 900)])
def test_labels_of_many_people_are_bounded(labels: bytes, tmp_path: Path) -> None:
    path = one_bad(tmp_path, ("b.jpg", photo_bytes()), ("b.data.pyd", labels))
    photos, rejections = bounded(lambda: read(path), seconds=5, megabytes=150)
    assert {photo.key for photo in photos} >= {"a", "c"}
    assert rejections or len(photos[1].people) == 900


def test_every_strange_entry_is_recorded_and_its_neighbours_live(tmp_path: Path) -> None:
    def entry(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return info, b""

    entries = [
        entry("l.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        entry("l.data.pyd", tarfile.LNKTYPE, "../../etc/passwd"),
        entry("d.jpg", tarfile.CHRTYPE),
        entry("f.jpg", tarfile.FIFOTYPE),
        *((f"{name}.jpg", photo_bytes()) for name in ("../x", "/abs/x", "a/../../x", "a\\..\\x", "nul\x07")),
    ]
    photos, rejections = read(one_bad(tmp_path, *entries))
    assert [photo.key for photo in photos] == ["a", "c"]
    assert [reason for _, _, reason in reasons(rejections)] == [R.UNSAFE_NAME] * 9
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["0.tar", "set"]


HOSTILE_BODIES: dict[str, bytes] = {
    "a call": b"cposix\nsystem\n(S'touch PWNED'\ntR.",
    "not a pickle": b"PK\x03\x04",
    "empty": b"",
    "no dict": pickle.dumps([1, 2]),
    "other fields": pickle.dumps({"v_template": np.zeros(3)}),
    "text where numbers are expected": pickle.dumps({"x": "y"}),
    "tuples of one hash": PICKLES["tuples of one hash"],
    "a sparse matrix of 2^62 values": b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n)\x81}(U\x06_shape"
    + b"J\xff\xff\xff\x7f" * 2 + b"\x86ub.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_a_hostile_body_folder_ends_in_an_error_that_names_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bodies"
    folder.mkdir()
    for file in ("skel_male", "SMPL_NEUTRAL", "SMPL_to_J19", "J_regressor_SKEL_mix_MALE"):
        (folder / f"{file}.pkl").write_bytes(HOSTILE_BODIES[name])

    def load() -> None:
        with pytest.raises((BodyFileError, ForbiddenPickleError, MalformedPickleError), match="J_regressor_SKEL_mix"):
            load_skel(str(folder))

    bounded(load, seconds=3, megabytes=200)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "override",
    [
        "fit.batch_size=!!python/object/apply:os.system ['touch PWNED']",
        "fit.batch_size=${oc.env:HOME}",
        "storage.root=${oc.env:HOME}",
        "fit.batch_size=*x",
        "fit.batch_size={a: &a [1], b: *a}",
        "fit.batch_size=" + "[" * 500,
        "__class__.__init__=1",
        "storage.__dict__=1",
        "storage=1",
        "=1",
        "data.shards={000000..999999999}.tar=x=y".replace("data.shards", "data.shard"),
    ],
)
def test_hostile_overrides_are_refused(override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def load() -> None:
        with pytest.raises(ConfigError):
            load_config(RoundConfig, [override])

    bounded(load, seconds=2, megabytes=50)
    assert list(tmp_path.iterdir()) == []
