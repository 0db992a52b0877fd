"""Who imports whom in our code, read from its source: modules, packages (folders) and the arrows between them."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class ImportGraph:
    """The code below some top folders of `root`. A module is named as it is imported; `__init__` is its package.

    Whatever is imported from folders that are only `beside` it counts as one package each.
    """

    root: Path
    tops: tuple[str, ...]
    beside: tuple[str, ...] = ("tests",)

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module name to file."""
        return {
            ".".join(file.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__"): file
            for top in self.tops
            for file in sorted((self.root / top).rglob("*.py"))
        }

    @cached_property
    def modules(self) -> dict[str, set[str]]:
        """Each module and the modules of ours that it imports, those imported in functions and for types included."""
        return {module: set(self._imported(module)) - {module} for module in self.files}

    @cached_property
    def packages(self) -> dict[str, set[str]]:
        """Each package that has modules, or whose `__init__` imports, and the other packages its modules import."""
        arrows: dict[str, set[str]] = defaultdict(set)
        for module, imported in self.modules.items():
            package = self.package_of(module)
            if module != package or imported:
                arrows[package] |= {self.package_of(name) for name in imported} - {package}
        return dict(arrows)

    @cached_property
    def loose(self) -> dict[str, list[str]]:
        """The modules that lie beside packages with modules, by the package in which they do."""
        crowded = {parent for package in self.packages for parent in [package.rpartition(".")[0]] if parent}
        own = [(self.package_of(module), module) for module in self.modules if self.package_of(module) != module]
        return {parent: [module for package, module in own if package == parent] for parent in sorted(crowded)}

    def package_of(self, module: str) -> str:
        file = self.files.get(module)
        if file is None or file.name == "__init__.py":
            return module
        return module.rpartition(".")[0]

    def _imported(self, module: str) -> Iterator[str]:
        for name in imported_names(self.files[module], module, self.package_of(module)):
            if name.partition(".")[0] in self.tops + self.beside:
                yield self._existing(name)

    def _existing(self, name: str) -> str:
        """`a.b.c` of `from a.b import c` where it is a module, else `a.b`."""
        while name not in self.files and "." in name:
            name = name.rpartition(".")[0]
        return name


def imported_names(file: Path, module: str, package: str) -> Iterator[str]:
    """The full name of everything that a module imports: `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def circles(graph: Graph) -> list[list[str]]:
    """Groups of two or more nodes that reach each other, pairs included; each sorted (Kosaraju's two walks)."""
    backwards: dict[str, set[str]] = defaultdict(set)
    for node, targets in graph.items():
        for target in targets:
            backwards[target].add(node)
    order = [node for tree in _trees(graph, list(graph)) for node in tree]
    groups = [sorted(tree) for tree in _trees(backwards, order[::-1])]
    return sorted(group for group in groups if len(group) > 1)


def _trees(graph: Graph, starts: list[str]) -> Iterator[list[str]]:
    """Depth-first trees from the starts in turn, without nodes of earlier trees; a node follows all it reaches."""
    seen: set[str] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        tree: list[str] = []
        stack = [(start, iter(sorted(graph.get(start, ()))))]
        while stack:
            node, targets = stack[-1]
            target = next((name for name in targets if name not in seen), None)
            if target is None:
                tree.append(node)
                stack.pop()
            else:
                seen.add(target)
                stack.append((target, iter(sorted(graph.get(target, ())))))
        yield tree


def folders_without_code(root: Path, tops: tuple[str, ...]) -> list[str]:
    """Folders of tests, below tests/<top>, that mirror no folder of code."""
    files = [file.relative_to(root / "tests") for top in tops for file in (root / "tests" / top).rglob("*.py")]
    mirrored = {folder for file in files for folder in file.parents}
    return sorted(f"tests/{folder}" for folder in mirrored if not (root / folder).is_dir())
