"""`pickle.loads` for bytes that nobody vouches for."""

import io
import pickle
from collections.abc import Mapping
from typing import Any

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError
from pipeline.safe_pickle.hashed_items import check_hashed_items
from pipeline.safe_pickle.numpy_globals import SHARD_GLOBALS
from pipeline.safe_pickle.opcodes import MAX_OPCODES, scan_opcodes
from pipeline.safe_pickle.placeholder import Inert, Resolver


def restricted_loads(
    data: bytes,
    *,
    allowed: Mapping[tuple[str, str], type[Inert]] = SHARD_GLOBALS,
    encoding: str = "ASCII",
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Unpickle `data`, naming nothing but the globals in `allowed` (default SHARD_GLOBALS: numpy arrays and scalars).

    encoding: how 8-bit strings written by Python 2 are decoded ("latin1" for the SMPL files), as in `pickle.loads`.
    max_opcodes: more are refused, for each may become 300 bytes. Arrays come back writable, in native classes; memory
    used is bounded by a small multiple of len(data).
    Raises ForbiddenPickleError for a refused global or trick, MalformedPickleError for bytes that are no pickle.
    """
    try:
        scan_opcodes(data, max_opcodes)
        check_hashed_items(data)
        unpickler = _Unpickler(io.BytesIO(data), allowed=allowed, encoding=encoding)
        budget = 2 * len(data)  # protocol 2 spells bytes as text, which is copied twice
        return Resolver(byte_budget=budget).value(unpickler.load())
    except (ForbiddenPickleError, MalformedPickleError):
        raise
    except Exception as error:  # broken bytes make the C unpickler raise nearly any type
        raise MalformedPickleError(f"not a readable pickle: {type(error).__name__}: {str(error)[:200]}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, *, allowed: Mapping[tuple[str, str], type[Inert]], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed = allowed

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        placeholder = self._allowed.get((module_name, global_name))
        if placeholder is None:
            raise ForbiddenPickleError(f"refused the global {f'{module_name}.{global_name}'[:200]!r}")
        return placeholder

    def persistent_load(self, pid: object, /) -> Any:
        raise ForbiddenPickleError("refused a persistent id")
