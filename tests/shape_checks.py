"""The shapes in the signatures are run: jaxtyping's import hook, with beartype, on the packages while they are tested.

Checked are parameters, results and fields whose type holds a shape, and only they. What else a signature says
(protocols, `Self`, settings) is pyrefly's to check, and tests may pass stand-ins for it; what has no shape costs
nothing. Child processes (jobs, Ray workers, loaders) run without the hook, and so does compiled code: of what it makes
for itself, the shapes are checked when it is handed out to Python.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from beartype import BeartypeConf, beartype

PACKAGES = ("schemas", "pipeline", "trainer", "benchmarks")
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too, as for pyrefly
_jaxtyping: Any = jaxtyping
_jaxtyped = _jaxtyping.jaxtyped


def install() -> None:
    """Check every module of ours that is imported from here on."""
    _jaxtyping.jaxtyped = _jaxtyped_where_shaped  # the name that the hook's decorators look up
    jaxtyping.install_import_hook(PACKAGES, f"{__name__}.check_shapes")


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The type checker of the hook: beartype on the annotations that hold a shape."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if holds_shape(hint)}
    return _beartype(function)


def holds_shape(hint: object) -> bool:
    """Whether a type is an array with a shape, or is made of such."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(holds_shape(part) for part in typing.get_args(hint))


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """For tests of what code says of wrong shapes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _jaxtyped_where_shaped(*, typechecker: Any) -> Callable[[Any], Any]:
    """`jaxtyping.jaxtyped` for the functions and classes with a shape; the others stay as they are.

    The fields of NamedTuples are checked too, which jaxtyping leaves out.
    """

    def decorate(thing: Any) -> Any:
        if not any(map(holds_shape, getattr(thing, "__annotations__", {}).values())):
            return thing
        if isinstance(thing, type) and issubclass(thing, tuple):
            thing.__new__ = staticmethod(
                unless_compiling(thing.__new__, _jaxtyped(thing.__new__, typechecker=typechecker))
            )
            return thing
        if isinstance(thing, type):
            made = thing.__init__
            checked = _jaxtyped(thing, typechecker=typechecker)
            checked.__init__ = unless_compiling(made, checked.__init__)
            return checked
        checked = _jaxtyped(thing, typechecker=typechecker)
        return unless_compiling(thing, checked) if inspect.isfunction(thing) else checked

    return decorate


def unless_compiling(bare: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    """The checked function, but for torch.compile, which cannot trace the checks and gets the bare one."""

    @functools.wraps(bare)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        return (bare if torch.compiler.is_compiling() else checked)(*args, **kwargs)

    return chosen
