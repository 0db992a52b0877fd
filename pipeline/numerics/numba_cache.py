"""`compiled`: numba's njit with a cache on disk that knows all of its sources.

numba's own cache looks at the file of a function alone, but the functions and constants it takes from other modules are
compiled into it: after a change there it would go on with the old ones. And it lies beside the sources: a job on a
cluster, whose sources are shipped into a new folder each time, would compile for half a minute every time.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
from numba.core import caching

_settings: Any = numba.config  # its attributes are made when it is imported
_ROOT: Final = Path(__file__).parents[2]
_SOURCES: Final = ("schemas", "pipeline/body", "pipeline/fit", "pipeline/image", "pipeline/numerics")
"""What the compiled functions of more than one module are made of."""


def compiled(*, nogil: bool = False) -> Callable[[Any], Any]:
    """Decorator: compile at the first call, or load what an earlier process compiled from the same sources.

    What is wrapped around the function (a check of its types) is left out.
    """

    def decorate(function: Any) -> Any:
        before = _settings.CACHE_LOCATOR_CLASSES
        _settings.CACHE_LOCATOR_CLASSES = f"{__name__}.BySources,InTreeCacheLocator"  # the latter: no home folder
        try:
            return numba.njit(cache=True, nogil=nogil)(inspect.unwrap(function))
        finally:
            _settings.CACHE_LOCATOR_CLASSES = before

    return decorate


class BySources(caching.UserWideCacheLocator):
    """One folder for each state of the sources, in NUMBA_CACHE_DIR or the user's cache folder.

    Whoever has the same sources shares it.
    """

    def __init__(self, py_func: Any, py_file: str):
        super().__init__(py_func, py_file)
        home = _settings.CACHE_DIR or Path(self._cache_path).parent
        self._cache_path = str(Path(home) / f"skel-{_digest()}")


@functools.cache
def _digest() -> str:
    digest = hashlib.sha256()
    for source in _SOURCES:
        for file in sorted((_ROOT / source).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
