"""The arrays of an npz that nobody vouches for: no size is believed before it is checked, no pickle can run anything.

Not `numpy.load`: it takes the memory that a header claims, evaluates the header, and leaks a dozen types of exceptions.
"""

import math
import re
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

import numpy as np
from jaxtyping import Shaped

from pipeline.labels.files.errors import LabelStoreError
from pipeline.safe_pickle import MAX_OPCODES, ForbiddenPickleError, MalformedPickleError, restricted_loads

_MAGIC: Final = b"\x93NUMPY"
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?(?:b1|[iu][1248]|f[248]|[SU]\d{1,6}|O))', "
    rb"'fortran_order': (False|True), 'shape': \(([\dL, ]{0,200})\), *\}\s*"
)
_MAX_NUMBER: Final = 18  # digits of a length
_FREE_BYTES: Final = 64 * 2**20
_EXPANSION: Final = 100  # of an honest file's floats by compression, far above any
_BYTES_PER_OPCODE: Final = 4  # of an honest pickle of many arrays 10


def npz_arrays(
    source: str | BinaryIO, names: Iterable[str], *, objects: bool = False, name: str | None = None
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Those arrays of an npz, at a path or open, whose names are asked for. objects: also such as hold pickled values,
    which are plain ones and arrays. name: of the file, for messages.

    Raises LabelStoreError for a file that cannot be read, is no npz, whose arrays are not what their headers say, or
    that wants to run something.
    """
    wanted = set(names)
    arrays: dict[str, np.ndarray] = {}
    path = name or str(source)
    try:
        with zipfile.ZipFile(source) as members:
            for info in members.infolist():
                member = info.filename.removesuffix(".npy")
                if member in arrays:
                    raise LabelStoreError(f"it has {member} twice")
                if member in wanted and member != info.filename:
                    arrays[member] = _array(_content(members, info), member, objects)
    except (LabelStoreError, ForbiddenPickleError, MalformedPickleError) as error:
        raise LabelStoreError(f"{path} is no npz that can be read safely: {error}.") from error
    except Exception as error:  # broken archives make zipfile and zlib raise nearly any type
        message = f"{type(error).__name__}: {str(error)[:200]}"
        raise LabelStoreError(f"{path} is no npz that can be read safely: {message}.") from error
    return arrays


def _content(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LabelStoreError(f"{info.filename} is compressed as numpy never does")
    if info.file_size > max(_FREE_BYTES, _EXPANSION * info.compress_size):
        raise LabelStoreError(f"{info.filename} would become {info.file_size} bytes from {info.compress_size}")
    return members.read(info)


def _array(data: bytes, name: str, objects: bool) -> np.ndarray:
    if data[:6] != _MAGIC or len(data) < 12 or data[6] not in (1, 2, 3):
        raise LabelStoreError(f"{name} is no array")
    prefix = 2 if data[6] == 1 else 4
    start = 8 + prefix + int.from_bytes(data[8 : 8 + prefix], "little")
    header = _HEADER.fullmatch(data, 8 + prefix, start)
    if header is None:
        raise LabelStoreError(f"{name} is no array of plain numbers, text or objects")
    numbers = [number for number in header[3].replace(b"L", b"").replace(b" ", b"").split(b",") if number]
    if len(numbers) > 32 or any(len(number) > _MAX_NUMBER for number in numbers):
        raise LabelStoreError(f"{name} claims an absurd shape")
    shape, dtype = tuple(int(number) for number in numbers), np.dtype(header[1].decode())
    if dtype.hasobject and not objects:
        raise LabelStoreError(f"{name} holds pickled objects")
    if dtype.hasobject:
        return _objects(data[start:], shape, name)
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise LabelStoreError(f"{name} has {len(data) - start} bytes, which is not {shape} of {dtype}")
    order: Any = "F" if header[2] == b"True" else "C"
    values = np.frombuffer(data, dtype, offset=start) if len(data) > start else np.empty(0, dtype)
    return values.reshape(shape, order=order)


def _objects(data: bytes, shape: tuple[int, ...], name: str) -> np.ndarray:
    values = many_loads(data)
    if not isinstance(values, np.ndarray) or values.shape != shape:
        raise LabelStoreError(f"{name} holds something else than an array of shape {shape}")
    return values


def many_loads(data: bytes) -> Any:
    """What a large pickle holds, of as many opcodes as its bytes make plausible. Raises as `restricted_loads`."""
    return restricted_loads(data, max_opcodes=max(MAX_OPCODES, len(data) // _BYTES_PER_OPCODE))
