"""Restricted unpickling: data come through unchanged, everything else is refused and nothing runs."""

import contextlib
import gzip
import os
import pickle
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.safe_pickle import (
    BODY_GLOBALS,
    SHARD_GLOBALS,
    ForbiddenPickleError,
    MalformedPickleError,
    load_body_pickle,
    restricted_loads,
)
from tests.pipeline.shards.samples import person

# Written by chumpy 0.70 (MIT): pickle.dumps({"shapedirs": chumpy.array(np.arange(6.0).reshape(2, 3))}, protocol)
CHUMPY_PICKLES = {
    0: (
        b"(dp0\nVshapedirs\np1\nccopy_reg\n_reconstructor\np2\n(cchumpy.ch\nCh\np3\nc__builtin__\nobject\np4\nNtp5\nRp6\n"
        b"(dp7\nV_dirty_vars\np8\nc__builtin__\nset\np9\n((lp10\ntp11\nRp12\nsV_itr\np13\nNsV_make_dense\np14\nI00\n"
        b"sV_make_sparse\np15\nI00\nsV_depends_on_deps\np16\n(dp17\nsVx\np18\ncnumpy._core.multiarray\n_reconstruct\np19\n"
        b"(cnumpy\nndarray\np20\n(I0\ntp21\nc_codecs\nencode\np22\n(Vb\np23\nVlatin1\np24\ntp25\nRp26\ntp27\nRp28\n(I1\n"
        b"(I2\nI3\ntp29\ncnumpy\ndtype\np30\n(Vf8\np31\nI00\nI01\ntp32\nRp33\n(I3\nV<\np34\nNNNI-1\nI-1\nI0\ntp35\nbI00\n"
        b"g22\n(V" + b"\\u0000" * 14 + b"\xf0?" + b"\\u0000" * 7 + b"@" + b"\\u0000" * 6 + b"\x08@" + b"\\u0000" * 6
        + b"\x10@" + b"\\u0000" * 6 + b"\x14@\np36\ng24\ntp37\nRp38\ntp39\nbsV_status\np40\nVnew\np41\nsbs."
    ),
    2: (
        b"\x80\x02}q\x00X\t\x00\x00\x00shapedirsq\x01cchumpy.ch\nCh\nq\x02)\x81q\x03}q\x04(X\x0b\x00\x00\x00_dirty_varsq"
        b"\x05c__builtin__\nset\nq\x06]q\x07\x85q\x08Rq\tX\x04\x00\x00\x00_itrq\nNX\x0b\x00\x00\x00_make_denseq\x0b\x89X"
        b"\x0c\x00\x00\x00_make_sparseq\x0c\x89X\x10\x00\x00\x00_depends_on_depsq\r}q\x0eX\x01\x00\x00\x00xq\x0fcnumpy._core"
        b".multiarray\n_reconstruct\nq\x10cnumpy\nndarray\nq\x11K\x00\x85q\x12c_codecs\nencode\nq\x13X\x01\x00\x00\x00bq\x14"
        b"X\x06\x00\x00\x00latin1q\x15\x86q\x16Rq\x17\x87q\x18Rq\x19(K\x01K\x02K\x03\x86q\x1acnumpy\ndtype\nq\x1bX\x02\x00"
        b"\x00\x00f8q\x1c\x89\x88\x87q\x1dRq\x1e(K\x03X\x01\x00\x00\x00<q\x1fNNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tq b\x89h\x13X1\x00\x00\x00" + b"\x00" * 14 + b"\xc3\xb0?" + b"\x00" * 7
        + b"@" + b"\x00" * 6 + b"\x08@" + b"\x00" * 6
        + b"\x10@" + b"\x00" * 6 + b'\x14@q!h\x15\x86q"Rq#tq$bX\x07\x00\x00\x00_statusq%X\x03\x00\x00\x00newq&ubs.'
    ),
    4: (
        b"\x80\x04\x95E\x01\x00\x00\x00\x00\x00\x00}\x94\x8c\tshapedirs\x94\x8c\tchumpy.ch\x94\x8c\x02Ch\x94\x93\x94)\x81\x94"
        b"}\x94(\x8c\x0b_dirty_vars\x94\x8f\x94\x8c\x04_itr\x94N\x8c\x0b_make_dense\x94\x89\x8c\x0c_make_sparse\x94\x89\x8c"
        b"\x10_depends_on_deps\x94}\x94\x8c\x01x\x94\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c"
        b"\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x12\x8c\x05"
        b"dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
        b"\x94b\x89C0" + b"\x00" * 14 + b"\xf0?" + b"\x00" * 7 + b"@" + b"\x00" * 6 + b"\x08@" + b"\x00" * 6 + b"\x10@"
        + b"\x00" * 6 + b"\x14@\x94t\x94b\x8c\x07_status\x94\x8c\x03new\x94ubs."
    ),
}  # fmt: skip


def body_loads(data: bytes) -> Any:
    return restricted_loads(data, allowed=BODY_GLOBALS, encoding="latin1")


# --- data come through ---


@given(
    array=hnp.arrays(
        st.one_of(
            hnp.floating_dtypes(sizes=(16, 32, 64)),
            hnp.integer_dtypes(),
            hnp.boolean_dtypes(),
            hnp.unicode_string_dtypes(min_len=1),
        ),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_round_trip(array: np.ndarray, protocol: int, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    loaded = body_loads(pickle.dumps(array, protocol))
    assert type(loaded) is np.ndarray
    assert loaded.shape == array.shape
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, array)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(value=PLAIN, protocol=st.integers(3, 5))
def test_containers_round_trip(value: object, protocol: int) -> None:
    assert restricted_loads(pickle.dumps(value, protocol)) == value


def test_published_words_of_numpy_1_are_understood() -> None:
    data = pickle.dumps({"a": np.arange(3.0), "b": np.float32(2)}, 0).replace(b"numpy._core", b"numpy.core")
    loaded = body_loads(data)
    np.testing.assert_array_equal(loaded["a"], np.arange(3.0))
    assert type(loaded["b"]) is np.float32


def test_fitting_loss_is_an_object_array_of_a_dict() -> None:
    loaded = restricted_loads(pickle.dumps(np.array({"reprojection_loss": 3.0}, dtype=object), 4))
    assert loaded.item() == {"reprojection_loss": 3.0}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["coo", "csc", "csr"])
@pytest.mark.parametrize("module", ["scipy.sparse._{}", "scipy.sparse.{}"])
def test_sparse_matrices(kind: str, protocol: int, module: str) -> None:
    dense = np.random.default_rng(0).random((24, 50)) * (np.arange(50) % 7 == 0)
    data = pickle.dumps(getattr(scipy.sparse, f"{kind}_matrix")(dense), protocol)
    if protocol < 4:  # names are length-prefixed from protocol 4 on
        data = data.replace(f"scipy.sparse._{kind}".encode(), module.format(kind).encode())
    loaded = body_loads(data)
    assert loaded.format == kind
    np.testing.assert_array_equal(loaded.toarray(), dense)


@pytest.mark.parametrize("protocol", CHUMPY_PICKLES)
def test_chumpy_array_is_read_as_its_array(protocol: int) -> None:
    loaded = body_loads(CHUMPY_PICKLES[protocol])
    np.testing.assert_array_equal(loaded["shapedirs"], np.arange(6.0).reshape(2, 3))
    assert "chumpy" not in sys.modules


def test_python_2_strings_as_in_the_smpl_files() -> None:
    data = (
        b"\x80\x02}U\x07weightscnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
        + np.array([1, -2.5], "<f4").tobytes()
        + b"tbs."
    )
    np.testing.assert_array_equal(body_loads(data)["weights"], np.array([1, -2.5], np.float32))


def test_body_files_written_here_load_as_pickle_loads_them(standin_folder: Path) -> None:
    for path in sorted(standin_folder.glob("*.pkl")):
        assert_same(load_body_pickle(path), pickle.loads(path.read_bytes()))


def test_body_files_written_elsewhere_load_as_pickle_loads_them(shared_dir: Path, tmp_path: Path) -> None:
    for path in sorted(shared_dir.glob("golden/standin_body/*.pkl.gz")):
        unpacked = tmp_path / path.stem
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
        expected = pickle.loads(unpacked.read_bytes())
        assert_same(load_body_pickle(unpacked), expected)


def assert_same(loaded: Any, expected: Any) -> None:
    assert type(loaded) is type(expected)
    if isinstance(expected, dict):
        assert loaded.keys() == expected.keys()
        for key in expected:
            assert_same(loaded[key], expected[key])
    elif scipy.sparse.issparse(expected):
        assert loaded.shape == expected.shape
        assert (loaded != expected).nnz == 0
    elif isinstance(expected, np.ndarray):
        assert loaded.dtype == expected.dtype
        np.testing.assert_array_equal(loaded, expected)
    else:
        assert loaded == expected


# --- nothing runs ---

DANGEROUS_EVENTS = {"os.system", "os.exec", "subprocess.Popen", "exec", "compile", "import", "open", "ctypes.dlopen"}


class Watch:
    """Audit hook (they cannot be removed, only idled): what the interpreter was asked to do while `active`."""

    def __init__(self) -> None:
        self.active = False
        self.events: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.active and event in DANGEROUS_EVENTS:
            self.events.append(f"{event} {arguments}"[:200])


WATCH = Watch()


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if loading executed, opened or imported anything, or made a file; and if a good pickle fails afterwards."""
    monkeypatch.chdir(tmp_path)
    WATCH.events.clear()
    WATCH.active = True
    yield
    WATCH.active = False
    assert WATCH.events == []
    assert os.listdir(tmp_path) == []
    np.testing.assert_array_equal(restricted_loads(pickle.dumps(np.arange(3.0), 4)), np.arange(3.0))
    assert restricted_loads(pickle.dumps(np.float64(2.5), 4)) == 2.5


HOSTILE_GLOBALS = [
    ("posix", "system"),
    ("os", "system"),
    ("builtins", "eval"),
    ("__builtin__", "exec"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "bytearray"),
    ("subprocess", "Popen"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("pickle", "loads"),
    ("copyreg", "__newobj__"),
    ("copyreg", "add_extension"),
    ("codecs", "decode"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy.f2py", "compile"),
    ("numpy.testing", "runstring"),
    ("numpy.core.multiarray", "fromfile"),
    ("numpy", "ndarray.tofile"),
    ("numpy", "dtype.__init__.__globals__"),
    ("numpy.core.multiarray", "_reconstruct.__init__"),
    ("pipeline.safe_pickle", "load_body_pickle"),
    ("scipy.sparse", "load_npz"),
    ("chumpy.ch", "os"),
]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("allowed", [SHARD_GLOBALS, BODY_GLOBALS], ids=["shard", "body"])
@pytest.mark.parametrize(("module", "name"), HOSTILE_GLOBALS)
def test_a_global_that_is_not_allowed_is_named_and_not_called(module: str, name: str, allowed: Any) -> None:
    by_text = f"c{module}\n{name}\n(S'touch PWNED'\ntR.".encode()
    by_stack = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93."
    for data in (by_text, by_stack):
        with pytest.raises(ForbiddenPickleError, match=name.replace(".", r"\.")):
            restricted_loads(data, allowed=allowed)


class Calls:
    """Pickles as a call of `function`, with a state."""

    def __init__(self, function: Any, *arguments: object, state: object = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


POINTER_DTYPE = Calls(np.dtype, "V8", False, True, state=(3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 8, 0))
FLAGGED_DTYPE = Calls(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))
RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]
NDARRAY_CLASS_BUILD = b"cnumpy\nndarray\n(N}S'__setstate__'\nI1\nstb."
CALLABLE_BUILD = b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__init__'\ncnumpy\nndarray\nstb."
SCALAR_BUILD = b"cnumpy.core.multiarray\n_reconstruct\n}S'resolve'\nI1\nsb."

TRICKS = {
    "object pointers in a structured dtype": Calls(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), POINTER_DTYPE, False, b"\x01" * 8)
    ),
    "object pointers as bytes": Calls(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), FLAGGED_DTYPE, False, b"\x01" * 8)
    ),
    "an array subclass": Calls(RECONSTRUCT, np.memmap, (0,), b"b"),
    "a huge shape": Calls(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (10**12,), np.dtype("f8"), False, b"\x00" * 8)
    ),
    "a negative shape": Calls(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (-1,), np.dtype("f8"), False, b"\x00" * 8)
    ),
    "items of no size": Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (10**12,), np.dtype("S0"), False, b"")),
    "an array without data": Calls(RECONSTRUCT, np.ndarray, (10**12,), b"b"),
    "the class of arrays as data": np.ndarray,
    "a dtype as data": np.dtype("f4"),
    "a function as data": RECONSTRUCT,
}


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("allowed", [SHARD_GLOBALS, BODY_GLOBALS], ids=["shard", "body"])
def test_numpy_tricks_are_refused(trick: str, allowed: Any) -> None:
    with pytest.raises((ForbiddenPickleError, MalformedPickleError)):
        restricted_loads(pickle.dumps([TRICKS[trick]], 4), allowed=allowed)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "data",
    [
        NDARRAY_CLASS_BUILD,
        CALLABLE_BUILD,
        SCALAR_BUILD,
        b"Psomething\n.",
        b"\x80\x04K\x01Q.",
        b"\x80\x02\x82\x01.",
        b"(iposix\nsystem\n.",
        b"(cnumpy\nndarray\no.",
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"ccopy_reg\n_reconstructor\n(cscipy.sparse.csc\ncsc_matrix\ncscipy.sparse.csc\ncsc_matrix\nNtR.",
        b"c_codecs\nencode\n(Vtext\nVrot13\ntR.",
        b"c__builtin__\nbytes\n(I1000000000000\ntR.",
        b"]q\x00h\x00a.",  # a list that holds itself
        b"](" + b"]" * 1000 + b"a" * 1000 + b".",
        b"\x80\x05\x97.",
        b"}cnumpy\nndarray\nNs.",
    ],
)
def test_opcode_tricks_are_refused(data: bytes) -> None:
    with pytest.raises((ForbiddenPickleError, MalformedPickleError)):
        body_loads(data)


def array_from_memo(n: int) -> bytes:
    """A list of n arrays that all copy one memoised string of 10,000 bytes."""
    one = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    one += b"(K\x01M\x10\x27\x85h\x01\x89h\x00tb"
    dtype = b"cnumpy\ndtype\nU\x02u1\x85Rq\x010"
    return b"\x80\x02B\x10\x27\x00\x00" + b"x" * 10_000 + b"q\x000" + dtype + b"](" + one * n + b"e."


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "data",
    [
        b"Nr\xff\xff\xff\x7f.",  # the memo of the C unpickler would take 32 GB
        b"Np2000000000\n.",
        b"Np" + b"0" * 30 + b"2000000000\n.",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
        b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.",
        b"\x8b" + (2**31 - 1).to_bytes(4, "little") + b"\x01.",
        array_from_memo(5000),
        b"(" + b"]" * 3_000_000 + b"l.",
    ],
    ids=["memo", "text memo", "padded memo", "bytes", "bytearray", "frame", "long", "shared data", "empty lists"],
)
def test_memory_bombs_stay_small(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((ForbiddenPickleError, MalformedPickleError)):
            body_loads(data)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_honest_sharing_is_allowed() -> None:
    assert [len(a) for a in body_loads(array_from_memo(1))] == [10_000]


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("kind", ["coo", "csc", "csr"])
def test_sparse_indices_outside_the_matrix_are_refused(kind: str) -> None:
    matrix = getattr(scipy.sparse, f"{kind}_matrix")(np.eye(3))
    indices = matrix.coords[0] if kind == "coo" else matrix.indices
    indices[1] = 2_000_000
    with pytest.raises(MalformedPickleError):
        body_loads(pickle.dumps(matrix, 4))


GOOD = pickle.dumps([person(), person(1)], 4)


@given(data=st.data())
def test_damaged_pickles_raise_only_our_errors(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(ForbiddenPickleError, MalformedPickleError):
        restricted_loads(bytes(damaged))


def test_a_body_file_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "skel_male.pkl"
    path.write_bytes(b"cposix\nsystem\n.")
    with pytest.raises(ForbiddenPickleError, match=r"skel_male\.pkl.*posix\.system"):
        load_body_pickle(path)
    path.write_bytes(b"<html>")
    with pytest.raises(MalformedPickleError, match=r"skel_male\.pkl"):
        load_body_pickle(path)
