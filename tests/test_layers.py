"""Imports point down only: jobs -> trainer -> pipeline -> schemas (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import ROOT

MAY_IMPORT: dict[str, set[str]] = {
    "schemas": set(),
    "pipeline": {"schemas"},
    "trainer": {"schemas", "pipeline"},
    "jobs": {"schemas", "pipeline", "trainer"},
}
FOREIGN = {"tests", "benchmarks"}
LAYERS = [layer for layer in MAY_IMPORT if (ROOT / layer).is_dir()]


def imported_names(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"), filename=str(module))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # relative to the module's own package
                package = module.relative_to(ROOT).parent.parts
                yield ".".join(package[: len(package) - node.level + 1])
            else:
                yield node.module or ""


def our_imports(module: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(module)} & (MAY_IMPORT.keys() | FOREIGN)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer: str) -> None:
    for module in (ROOT / layer).rglob("*.py"):
        upward = our_imports(module) - MAY_IMPORT[layer] - {layer}
        assert not upward, f"{module.relative_to(ROOT)} imports {sorted(upward)}, which {layer} may not"


@pytest.mark.parametrize("layer", LAYERS)
def test_pickles_are_loaded_only_through_the_restricted_unpickler(layer: str) -> None:
    loaders = {"load", "loads", "Unpickler"}
    for module in (ROOT / layer).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in loaders:
                owner = node.func.value
                where = f"{module.relative_to(ROOT)}:{node.lineno}"
                assert not (isinstance(owner, ast.Name) and owner.id in {"pickle", "cPickle"}), where
