"""Second and third wall: what stands for a global while unpickling, and the walk that turns it into a value."""

import math
import re
from typing import Any, Final, Literal, TypeGuard

import numpy as np
from jaxtyping import Shaped

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError

_MAX_DEPTH: Final = 64
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
_DTYPE: Final = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5}|O[48]?)")


class _Sealed(type):
    """Class that cannot be changed: pickle's BUILD could otherwise rebind its methods for the rest of the process."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise ForbiddenPickleError(f"refused to set {name[:80]!r} on {cls.__name__}")


class Inert(metaclass=_Sealed):
    """What an allowed global stands for while unpickling: it only remembers; `resolve` makes the value afterwards."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise ForbiddenPickleError(f"refused a state for {type(self).__name__}")

    def resolve(self, resolver: "Resolver") -> object:
        """The checked value. Raises ForbiddenPickleError or MalformedPickleError."""
        raise ForbiddenPickleError(f"refused a bare {type(self).__name__}: it is no data")


class Dtype(Inert):
    """`numpy.dtype` of a plain kind. Its pickled flags are ignored: they could declare raw bytes object pointers."""

    __slots__ = ("_byte_order", "_name")

    def __init__(self, name: str, align: object = False, copy: object = True) -> None:
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise ForbiddenPickleError(f"refused the numpy dtype {name!r:.80}: only plain numbers, text and objects")
        self._name = name
        self._byte_order: Literal["<", ">", "="] = "="

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), "<" | ">" as order, None, None, None, *_):
                self._byte_order = order
            case (int(), "|" | "=", None, None, None, *_):
                self._byte_order = "="
            case _:
                raise ForbiddenPickleError("refused a numpy dtype with fields, a subarray or metadata")

    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype; objects only ever as 'O', never with a size."""
        dtype = np.dtype(object if "O" in self._name else self._name)
        return dtype if self._byte_order == "=" else dtype.newbyteorder(self._byte_order)


class Resolver:
    """Turns what was unpickled into values, each object once, refusing cycles and more bytes than were pickled."""

    def __init__(self, *, byte_budget: int) -> None:
        self._left = byte_budget
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def value(self, raw: object) -> Any:
        """The checked value of anything that was unpickled. Raises ForbiddenPickleError or MalformedPickleError."""
        if type(raw) in _ATOMS:
            return raw
        if id(raw) in self._done:
            return self._done[id(raw)]
        if id(raw) in self._open or len(self._open) >= _MAX_DEPTH:
            raise ForbiddenPickleError(f"refused data that holds itself or is nested deeper than {_MAX_DEPTH}")
        self._open.add(id(raw))
        self._done[id(raw)] = self._build(raw)
        self._open.remove(id(raw))
        return self._done[id(raw)]

    def array(self, raw: object, dtype: object, shape: object, order: Any) -> Shaped[np.ndarray, "..."]:
        """Array of exactly the given data: a shape or item size that does not match its length is refused."""
        if not isinstance(dtype, Dtype) or not _is_shape(shape):
            raise MalformedPickleError("a numpy array without a plain dtype and shape")
        size, numpy_dtype = math.prod(shape), dtype.dtype()
        if numpy_dtype.hasobject:
            return self._object_array(raw, shape, size, order)
        data = raw.encode("latin1") if isinstance(raw, str) else self.value(raw)
        if not isinstance(data, (bytes, bytearray)) or len(data) != size * numpy_dtype.itemsize:
            raise MalformedPickleError(f"a numpy array of shape {shape} {numpy_dtype} does not match its data")
        self.charge(data)
        values = np.frombuffer(data, numpy_dtype) if data else np.empty(0, numpy_dtype)
        return values.reshape(shape, order=order).astype(numpy_dtype.newbyteorder("="), order=order)

    def charge(self, data: Any) -> Any:
        """Count what is copied. An honest pickle spells each item out; a bomb repeats one by its memo number."""
        self._left -= len(data)
        if self._left < 0:
            raise ForbiddenPickleError("refused arrays that hold far more bytes than the pickle itself")
        return data

    def _object_array(self, raw: object, shape: Any, size: int, order: Any) -> np.ndarray:
        if not isinstance(raw, list) or len(raw) != size:
            raise ForbiddenPickleError(
                f"refused an object array of shape {shape}: its data is no list of {size} values"
            )
        array = np.empty(size, object)
        for i, item in enumerate(self.charge(raw)):
            array[i] = self.value(item)
        return array.reshape(shape, order=order)

    def _build(self, raw: Any) -> Any:
        if isinstance(raw, Inert):
            return raw.resolve(self)
        if type(raw) in (list, tuple):
            return type(raw)([self.value(item) for item in raw])
        if type(raw) in (set, frozenset):
            return type(raw)([hashed(item) for item in raw])
        if type(raw) is dict:
            return {hashed(key): self.value(item) for key, item in raw.items()}
        raise ForbiddenPickleError(f"refused {getattr(raw, '__name__', type(raw).__name__)}: it is no data")


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(shape, tuple) and len(shape) <= 32 and all(type(n) is int and 0 <= n < 2**48 for n in shape)


def hashed(item: object) -> object:
    """A dict key or set item: plain, since other hashes may have been made to collide. Raises ForbiddenPickleError."""
    if type(item) not in _ATOMS:
        raise ForbiddenPickleError(f"refused a {type(item).__name__} as a dict key or in a set")
    return item
