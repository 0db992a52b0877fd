"""The allow-list of data.pyd: numpy arrays and scalars."""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError
from pipeline.safe_pickle.placeholder import Dtype, Inert, Resolver


class NdArrayClass(Inert):
    """`numpy.ndarray`, only as an argument of `_reconstruct`."""

    __slots__ = ()


class Array(Inert):
    """`numpy.core.multiarray._reconstruct` and the state that BUILD gives it."""

    __slots__ = ("_state",)

    def __init__(self, array_class: object, shape: object, kind: object) -> None:
        if array_class is not NdArrayClass:
            raise ForbiddenPickleError("refused an array of a class other than numpy.ndarray")
        self._state: tuple[Any, ...] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise MalformedPickleError("a numpy array without shape, dtype and data")
        self._state = state[-4:]

    def resolve(self, resolver: "Resolver") -> object:
        if self._state is None:
            raise MalformedPickleError("a numpy array without data")
        shape, dtype, fortran, raw = self._state
        return resolver.array(raw, dtype, shape, "F" if fortran else "C")


class BufferArray(Inert):
    """`numpy.core.numeric._frombuffer`, how protocol 5 writes arrays."""

    __slots__ = ("_arguments",)

    def __init__(self, raw: object, dtype: object, shape: object, order: object) -> None:
        self._arguments = (raw, dtype, shape, "F" if order == "F" else "C")

    def resolve(self, resolver: "Resolver") -> object:
        return resolver.array(*self._arguments)


class Scalar(Inert):
    """`numpy.core.multiarray.scalar`."""

    __slots__ = ("_dtype", "_raw")

    def __init__(self, dtype: object, raw: object = None) -> None:
        self._dtype, self._raw = dtype, raw

    def resolve(self, resolver: "Resolver") -> object:
        return resolver.array(self._raw, self._dtype, (), "C")[()]


SHARD_GLOBALS: Final[Mapping[tuple[str, str], type[Inert]]] = {
    ("numpy", "ndarray"): NdArrayClass,
    ("numpy", "dtype"): Dtype,
    **{
        (f"numpy.{core}.{module}", name): placeholder
        for core in ("core", "_core")
        for module, name, placeholder in (
            ("multiarray", "_reconstruct", Array),
            ("multiarray", "scalar", Scalar),
            ("numeric", "_frombuffer", BufferArray),
        )
    },
}
"""What data.pyd may name: numpy arrays and scalars, in the words of numpy 1 and 2."""
