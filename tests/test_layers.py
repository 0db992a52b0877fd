"""The plan of the code: which package may import which. Every import points up this table, so nothing runs in circles.

A folder of modules is a package, and does one job. What is imported inside functions and for types counts too.
"""

import ast
from pathlib import Path

import pytest

from tests.import_graph import ImportGraph, circles, folders_without_code
from tests.repository import ROOT

LAYERS: dict[str, set[str]] = {
    "schemas": set(),
    "pipeline": {"schemas"},
    "trainer": {"schemas", "pipeline"},
    "jobs": {"schemas", "pipeline", "trainer"},
    "tools": {"schemas", "pipeline", "trainer", "benchmarks"},
    "benchmarks": {"schemas", "pipeline", "trainer", "tests"},
}

# A package, and all it imports besides `schemas`, which everybody may. Only packages further up: the new stands below
# what it rests on. Names without a top folder are those of `pipeline`.
PLAN: dict[str, str] = {
    "schemas": "",
    # What knows neither bodies nor labels.
    "runtime": "",
    "numerics": "",
    "safe_pickle": "",
    "storage": "",
    "shards": "safe_pickle storage",
    "lenses": "runtime",
    # Bodies and pictures of them.
    "body": "numerics safe_pickle",
    "image": "numerics",
    "render": "body image numerics",
    # Fits: one person, then the frames of a track.
    "fit.surface": "body",
    "fit.solver": "body image numerics",
    "fit.objectives": "body fit.solver image numerics",
    "fit.prior": "",
    "fit.starts": "body fit.objectives fit.prior fit.solver image",
    "fit": "body fit.objectives fit.solver fit.starts fit.surface image numerics",
    "fit.video": "fit fit.solver numerics",
    "fit.views": "body fit fit.objectives fit.solver fit.starts image numerics",
    # The label store: files, the table over them, publishing, the store itself; then what uses the store.
    "labels.files": "storage",
    "labels.table": "labels.files storage",
    "labels.publishing": "labels.files labels.table storage",
    "labels": "labels.files labels.publishing labels.table storage",
    "labels.inspecting": "body image labels labels.files labels.table",
    "labels.upkeep": "labels labels.files labels.publishing labels.table storage",
    "labels.exchange": "body image labels labels.files runtime safe_pickle shards storage",
    # A page that shows people and their labels.
    "browser": "body image labels labels.files labels.inspecting labels.table render runtime shards storage",
    # What one looks at: a page on a generation.
    "report": "body image labels labels.files labels.inspecting render shards storage",
    # What a round does with people, and rounds.
    "labelling": "body fit fit.objectives fit.solver fit.starts fit.video image labels.exchange labels.files numerics",
    "rounds": "body fit fit.video image labelling labels labels.exchange labels.files lenses report runtime shards",
    # Made-up people; files for others.
    "demo_set": "body image numerics render runtime shards",
    "export": "body fit.solver image",
    "motions": "body export fit fit.solver labels.exchange labels.files rounds runtime safe_pickle storage",
    # The network: what it is, its files and its inputs; prediction, training, and the loop of both.
    "trainer.network": "body fit.starts image",
    "trainer.checkpoint": "storage trainer.network",
    "trainer.prior": "body storage trainer.network",
    "trainer.data": "body image labels numerics shards trainer.network",
    "trainer.inference": "body export fit fit.solver image labelling labels lenses render runtime shards storage "
    "trainer.checkpoint trainer.data trainer.network",
    "trainer.evaluation": "body export image labels.exchange lenses numerics render rounds runtime shards "
    "trainer.checkpoint trainer.data trainer.inference trainer.network",
    "trainer.training": "body image labelling labels labels.files numerics render report rounds runtime "
    "storage trainer.checkpoint trainer.data trainer.inference trainer.network trainer.prior",
    "trainer": "image labels labels.files rounds runtime trainer.training",
    # The commands.
    "jobs": "body browser demo_set fit.starts labelling labels labels.exchange labels.inspecting labels.upkeep lenses "
    "motions render report rounds runtime shards trainer trainer.checkpoint trainer.evaluation trainer.inference "
    "trainer.network "
    "trainer.training",
    # Not installed: what made the files that ship, and what measures.
    "tools.open_body": "body render",
    "tools.surroundings": "demo_set",
    "tools.pose_prior": "body fit fit.prior fit.starts numerics render",
    "benchmarks.made": "body demo_set fit fit.prior fit.solver image labelling labels labels.files lenses numerics "
    "render rounds shards",
    "benchmarks.baselines": "benchmarks.made body fit fit.solver fit.surface image labelling labels numerics rounds",
    "benchmarks.loops": "benchmarks.baselines body demo_set fit.starts image labels rounds trainer.inference "
    "trainer.training",
    "benchmarks.footage": "body fit fit.views image labelling render trainer.checkpoint trainer.inference",
    "benchmarks": "benchmarks.baselines benchmarks.footage benchmarks.loops benchmarks.made body browser demo_set fit "
    "fit.prior fit.video image labelling labels labels.files lenses motions numerics render rounds runtime shards "
    "storage tests trainer trainer.data trainer.inference trainer.network trainer.training",
    "tools.keypoint_net": "demo_set image shards trainer.data trainer.network trainer.training",
    "tools.label_spread": "benchmarks.made labelling",
    "tools.keypoint_noise": "benchmarks.footage body fit fit.views image",
}
MOST_LOOSE_MODULES = 2  # beside packages, for what everybody there needs
TOPS = tuple(LAYERS)


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(ROOT, TOPS)


def full(name: str) -> str:
    return name if name.partition(".")[0] in (*TOPS, "tests") else f"pipeline.{name}"


def row(package: str, imported: set[str]) -> str:
    """The line of the table for what was found."""
    short = sorted(name.removeprefix("pipeline.") for name in imported)
    return f'    "{package.removeprefix("pipeline.")}": "{" ".join(short)}",'


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(graph: ImportGraph, layer: str) -> None:
    for module, imported in graph.modules.items():
        if module.partition(".")[0] == layer:
            upward = {name for name in imported if name.partition(".")[0] not in LAYERS[layer] | {layer}}
            assert not upward, f"{module} imports {sorted(upward)}, which {layer} may not"


def test_packages_import_what_the_plan_says(graph: ImportGraph) -> None:
    plan = {full(package): {full(name) for name in imported.split()} for package, imported in PLAN.items()}
    found = {package: imported - {"schemas"} for package, imported in graph.packages.items()}
    wrong = [row(package, imported) for package, imported in found.items() if plan.get(package) != imported]
    assert not wrong, "Import something else, or change the plan on purpose. It would say:\n" + "\n".join(wrong)
    gone = sorted(plan.keys() - found.keys())
    assert not gone, f"the plan names packages that are not there; delete their lines: {gone}"


def test_the_plan_itself_points_up() -> None:
    above: set[str] = set()
    for package, imported in PLAN.items():
        early = set(imported.split()) - above - {"tests"}
        assert not early, f"{package} stands above {sorted(early)}, which it imports: a circle, or move its line down"
        above.add(package)


def test_neither_modules_nor_packages_run_in_circles(graph: ImportGraph) -> None:
    assert circles(graph.modules) == []
    assert circles(graph.packages) == []


def test_no_modules_lie_about_beside_packages(graph: ImportGraph) -> None:
    for package, modules in graph.loose.items():
        if package != "benchmarks":  # its loose modules are its commands
            assert len(modules) <= MOST_LOOSE_MODULES, f"give these a folder: {modules}"


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    strays = folders_without_code(ROOT, TOPS)
    assert not strays, f"no code lies at the places that these folders stand for: {strays}"


@pytest.mark.parametrize("layer", ["schemas", "pipeline", "trainer", "jobs"])
def test_pickles_are_loaded_only_through_the_restricted_unpickler(layer: str) -> None:
    loaders = {"load", "loads", "Unpickler"}
    for module in (ROOT / layer).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in loaders:
                owner = node.func.value
                where = f"{module.relative_to(ROOT)}:{node.lineno}"
                assert not (isinstance(owner, ast.Name) and owner.id in {"pickle", "cPickle"}), where


@pytest.fixture
def made(tmp_path: Path) -> ImportGraph:
    """A parent and a child that import each other, a circle of three modules, and an import of every form."""
    for name, text in {
        "a/__init__.py": "",
        "a/one.py": "import a.sub.low\nfrom a import two",
        "a/two.py": "def later():\n    from a.three import x",
        "a/three.py": "from . import one\nx = 1",
        "a/sub/__init__.py": "",
        "a/sub/low.py": "from ..two import later",
        "a/sub/alone.py": "import os\nfrom tests.services import s3\nfrom a.sub import __name__ as name",
        "b/__init__.py": "from a.sub import low",
        "b/empty/__init__.py": "",
        "tests/a/sub/test_low.py": "",
        "tests/a/old/deep/test_gone.py": "",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return ImportGraph(tmp_path, ("a", "b"))


def test_the_graph_sees_every_form_of_import(made: ImportGraph) -> None:
    assert made.modules == {
        "a": set(),
        "a.one": {"a.sub.low", "a.two"},
        "a.two": {"a.three"},
        "a.three": {"a.one"},
        "a.sub": set(),
        "a.sub.low": {"a.two"},
        "a.sub.alone": {"tests", "a.sub"},
        "b": {"a.sub.low"},
        "b.empty": set(),
    }
    assert made.packages == {"a": {"a.sub"}, "a.sub": {"a", "tests"}, "b": {"a.sub"}}


def test_circles_loose_modules_and_stray_tests_are_found(made: ImportGraph) -> None:
    assert circles(made.packages) == [["a", "a.sub"]]
    assert circles(made.modules) == [["a.one", "a.sub.low", "a.three", "a.two"]]
    assert made.loose == {"a": ["a.one", "a.three", "a.two"]}
    assert folders_without_code(made.root, ("a", "b")) == ["tests/a/old", "tests/a/old/deep"]
    assert row("pipeline.fit", {"pipeline.body", "trainer"}) == '    "fit": "body trainer",'
