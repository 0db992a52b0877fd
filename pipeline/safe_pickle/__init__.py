"""Restricted unpickling: a pickle may hold numbers, text, builtin containers and numpy arrays, and can run nothing.

Three walls, because each alone has known ways round it:
1. `opcodes`: the opcodes are scanned first, so that a few bytes cannot make the C unpickler allocate gigabytes.
2. `placeholder`: an inert class replaces each allowed global. numpy's own `__setstate__`, which trusts the pickle's
   shapes, flags and object pointers, is never called, and the classes are sealed: BUILD cannot change them.
3. `placeholder.Resolver`: one walk over the result checks every value and turns placeholders into arrays, never copying
   more bytes than a small multiple of what the pickle has.
"""

from pipeline.safe_pickle.body_globals import BODY_GLOBALS, load_body_pickle
from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError
from pipeline.safe_pickle.numpy_globals import SHARD_GLOBALS
from pipeline.safe_pickle.opcodes import MAX_OPCODES
from pipeline.safe_pickle.unpickling import restricted_loads

__all__ = [
    "BODY_GLOBALS",
    "MAX_OPCODES",
    "SHARD_GLOBALS",
    "ForbiddenPickleError",
    "MalformedPickleError",
    "load_body_pickle",
    "restricted_loads",
]
