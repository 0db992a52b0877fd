"""The allow-list of the official SKEL and SMPL files: also scipy sparse matrices and a stub of chumpy's array."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError
from pipeline.safe_pickle.numpy_globals import SHARD_GLOBALS
from pipeline.safe_pickle.placeholder import Inert, Resolver, hashed
from pipeline.safe_pickle.unpickling import restricted_loads


class ObjectClass(Inert):
    """`builtins.object`, only as an argument of `copyreg._reconstructor`."""

    __slots__ = ()


class Latin1Bytes(Inert):
    """`_codecs.encode(text, "latin1")`, how Python 3 writes bytes in protocols 0 to 2."""

    __slots__ = ("_text",)

    def __init__(self, text: object, encoding: object) -> None:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ForbiddenPickleError("refused _codecs.encode to anything but latin1")
        self._text = text

    def resolve(self, resolver: "Resolver") -> object:
        return resolver.charge(self._text.encode("latin1"))


class EmptyBytes(Inert):
    """`builtins.bytes()`, how Python 3 writes b"" in protocols 0 to 2; with an argument it could claim any memory."""

    __slots__ = ()

    def resolve(self, resolver: "Resolver") -> object:
        return b""


class SetOf(Inert):
    """`builtins.set`, how Python 2 writes a set."""

    __slots__ = ("_items",)

    def __init__(self, items: object = ()) -> None:
        self._items = items

    def resolve(self, resolver: "Resolver") -> object:
        items = resolver.value(self._items)
        if not isinstance(items, (list, tuple)):
            raise MalformedPickleError("a set without a list of items")
        return resolver.charge({hashed(item) for item in items})


class _WithState(Inert):
    """An object that is a class name and a dict of attributes."""

    __slots__ = ("_state",)
    _state: dict[Any, Any] | None

    def __new__(cls) -> "_WithState":
        self = super().__new__(cls)
        self._state = None
        return self

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise ForbiddenPickleError(f"refused a {type(self).__name__} whose state is not a dict")
        self._state = state

    def attribute(self, resolver: "Resolver", *names: str) -> Any:
        """Resolved value of the first of `names` that is there."""
        for name in names:
            if self._state is not None and name in self._state:
                return resolver.value(self._state[name])
        raise MalformedPickleError(f"a {type(self).__name__} without {' or '.join(names)}")


class ChumpyArray(_WithState):
    """`chumpy.ch.Ch`: only its array `x` is read."""

    __slots__ = ()

    def resolve(self, resolver: "Resolver") -> object:
        x = self.attribute(resolver, "x")
        if not isinstance(x, np.ndarray):
            raise MalformedPickleError("a chumpy.ch.Ch whose x is no array")
        return x


class _SparseMatrix(_WithState):
    __slots__ = ()

    def shape(self, resolver: "Resolver") -> tuple[int, int]:
        match self.attribute(resolver, "_shape", "shape"):
            case (rows, columns) if all(isinstance(n, (int, np.integer)) and 0 <= n < 2**31 for n in (rows, columns)):
                return int(rows), int(columns)
            case _:
                raise MalformedPickleError("a sparse matrix without a usable shape")

    def vector(self, resolver: "Resolver", *names: str) -> Any:
        return _numeric_vector(self.attribute(resolver, *names), names[0])


class CooMatrix(_SparseMatrix):
    """`scipy.sparse.coo_matrix`; its constructor checks the indices against the shape."""

    __slots__ = ()

    def resolve(self, resolver: "Resolver") -> object:
        if self._state is not None and "coords" in self._state:
            coords = self.attribute(resolver, "coords")
            if not isinstance(coords, tuple) or len(coords) != 2:
                raise MalformedPickleError("a coo_matrix without two coordinate vectors")
            row, column = (_numeric_vector(c, "coords") for c in coords)
        else:
            row, column = self.vector(resolver, "row"), self.vector(resolver, "col")
        return scipy.sparse.coo_matrix((self.vector(resolver, "data"), (row, column)), shape=self.shape(resolver))


class _CompressedMatrix(_SparseMatrix):
    __slots__ = ()

    def compressed(self, resolver: "Resolver", make: Callable[..., Any]) -> object:
        parts = tuple(self.vector(resolver, name) for name in ("data", "indices", "indptr"))
        matrix = make(parts, shape=self.shape(resolver))
        matrix.check_format(full_check=True)  # scipy's compiled code does not check bounds: a bad index would crash it
        return matrix


class CscMatrix(_CompressedMatrix):
    """`scipy.sparse.csc_matrix`, every index checked."""

    __slots__ = ()

    def resolve(self, resolver: "Resolver") -> object:
        return self.compressed(resolver, scipy.sparse.csc_matrix)


class CsrMatrix(_CompressedMatrix):
    """`scipy.sparse.csr_matrix`, every index checked."""

    __slots__ = ()

    def resolve(self, resolver: "Resolver") -> object:
        return self.compressed(resolver, scipy.sparse.csr_matrix)


def _numeric_vector(value: object, name: str) -> Any:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "biuf":
        raise MalformedPickleError(f"a sparse matrix whose {name} is no vector of numbers")
    return value


class Reconstructor(Inert):
    """`copyreg._reconstructor(cls, object, None)`, how protocols 0 and 1 make an object."""

    __slots__ = ()

    def __new__(cls, target: object, base: object, state: object) -> Any:
        if isinstance(target, type) and issubclass(target, _WithState) and base is ObjectClass and state is None:
            return target()
        raise ForbiddenPickleError("refused copyreg._reconstructor of anything but a sparse matrix or a chumpy array")


BODY_GLOBALS: Final[Mapping[tuple[str, str], type[Inert]]] = {
    **SHARD_GLOBALS,
    ("_codecs", "encode"): Latin1Bytes,
    ("chumpy.ch", "Ch"): ChumpyArray,
    **{(module, "_reconstructor"): Reconstructor for module in ("copyreg", "copy_reg")},
    **{(module, "object"): ObjectClass for module in ("builtins", "__builtin__")},
    **{(module, "set"): SetOf for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): EmptyBytes for module in ("builtins", "__builtin__")},
    **{
        (f"scipy.sparse.{private}{kind}", f"{kind}_matrix"): placeholder
        for private in ("", "_")
        for kind, placeholder in (("coo", CooMatrix), ("csc", CscMatrix), ("csr", CsrMatrix))
    },
}
"""What the official SKEL and SMPL files may name: also scipy sparse matrices and an inert stub of chumpy's array."""


def load_body_pickle(path: Path | str) -> Any:
    """Read an official SKEL or SMPL file (.pkl) with BODY_GLOBALS: a dict, a scipy sparse matrix or an array.

    chumpy arrays come back as plain arrays. Raises ForbiddenPickleError or MalformedPickleError naming the file.
    """
    try:
        return restricted_loads(Path(path).read_bytes(), allowed=BODY_GLOBALS, encoding="latin1")
    except ForbiddenPickleError as error:
        raise ForbiddenPickleError(f"{path}: {error}. Official files need no such thing: do not trust it.") from error
    except MalformedPickleError as error:
        raise MalformedPickleError(f"{path}: {error}. Download the file again.") from error
