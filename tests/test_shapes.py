"""Public arrays carry their shape in their type, and the shapes are checked while the tests run."""

import importlib
import inspect
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from pipeline.image.camera import project
from tests.repository import ROOT
from tests.shape_checks import holds_shape
from trainer.data.extreme_crop import Box
from trainer.network.hsmr import HsmrOutput


def packages() -> list[str]:
    """`schemas`, and every folder of `pipeline` and `trainer` (with its loose modules as one)."""
    below = [folder for layer in ("pipeline", "trainer") for folder in (ROOT / layer).iterdir() if folder.is_dir()]
    return ["schemas", "trainer", *sorted(str(f.relative_to(ROOT)) for f in below if any(f.glob("*.py")))]


def modules(package: str) -> Iterator[Path]:
    folder = ROOT / package
    yield from sorted(folder.glob("*.py") if package == "trainer" else folder.rglob("*.py"))


def hints(thing: Any) -> Iterator[tuple[str, object]]:
    """(where, type) of every parameter, result and field of a public function or class."""
    thing = inspect.unwrap(getattr(thing, "py_func", thing))  # what numba compiled, or a check wraps
    for name, hint in inspect.get_annotations(thing).items():
        if inspect.isfunction(thing) or not name.startswith("_"):
            yield f"{thing.__qualname__}: {name}", hint
    if not inspect.isclass(thing):
        return
    for name, member in vars(thing).items():
        made = name == "__init__" and is_dataclass(thing)  # of the fields
        if made or (name.startswith("_") and name not in ("__init__", "__call__")):
            continue
        member = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if inspect.isfunction(member):
            yield from hints(member)


def is_bare(hint: object) -> bool:
    """Whether a type is an array without a shape, or holds one."""
    if holds_shape(hint) and isinstance(hint, type):
        return False
    if (typing.get_origin(hint) or hint) in (np.ndarray, torch.Tensor):
        return True
    parts = [part for arg in typing.get_args(hint) for part in (arg if isinstance(arg, list) else [arg])]
    return any(map(is_bare, parts))


def bare_arrays(package: str) -> list[str]:
    """Every public parameter, result and field of a package whose type is an array without a shape."""
    found: list[str] = []
    for file in modules(package):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for public, thing in vars(importlib.import_module(name)).items():
            own = getattr(thing, "__module__", None) == name and not public.startswith("_")
            if own and (inspect.isclass(thing) or callable(thing)) and hasattr(thing, "__qualname__"):
                found += [f"{name}: {where}" for where, hint in hints(thing) if is_bare(hint)]
    return found


@pytest.mark.parametrize("package", packages())
def test_public_arrays_have_a_shape(package: str) -> None:
    bare = bare_arrays(package)
    assert not bare, "give these a shape, as in Float[Tensor, 'B 46']:\n" + "\n".join(bare)


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="cam_t"):
        project(torch.zeros(2, 44, 3), torch.zeros(3, 3))


def test_a_wrong_dtype_in_a_dataclass_is_refused() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="size"):
        Box(np.zeros(2), np.zeros(2, int))


def test_a_wrong_shape_in_a_named_tuple_is_refused() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="betas"):
        HsmrOutput(*(torch.zeros(2, *shape) for shape in ((46,), (9,), (3,), (3,), (24, 6), (24, 3, 3))))
