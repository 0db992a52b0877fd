"""Every citation can be followed: nothing outside the repository is cited, and what is cited is there."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.repository import GOLDEN, ROOT

FOLDERS: Final = ("schemas", "pipeline", "trainer", "jobs", "tools", "benchmarks", "tests", "docs", ".ci")
ENDINGS: Final = {".py", ".md", ".toml", ".txt", ".c", ""}
NOT_OURS: Final = ("tests/fixtures/", "pipeline/body/open_body/licences")
PLANNED: Final = {"pipeline/footage"}
"""Places that docs/architecture.md names before they exist."""

OUTSIDE: Final = {
    "a text outside the repository": re.compile(r"\bSPEC\b|\bSKEL_MATHS\b|\bSTYLE\b"),
    "the folder beside the repository": re.compile(r"\.\./shared"),
    "a number of an issue": re.compile(r"\b[Ii]ssues? #?\d"),
    "a path of one machine": re.compile(r"(?<![\w.])/(work|root|home)/"),
}

LINK: Final = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FILE: Final = re.compile(r"(?<![\w./<{*-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|npz|npy|toml))(?![\w/*])")
FOLDER: Final = re.compile(r"`((?:schemas|pipeline|trainer|jobs|tools|benchmarks|tests|docs)(?:/\w+)+)/?`")
DOTTED: Final = re.compile(r"`((?:schemas|pipeline|trainer|jobs|benchmarks|tests)(?:\.\w+)+)(?:\(\))?`")

TEXTS: Final = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in ENDINGS and not path.relative_to(ROOT).as_posix().startswith(NOT_OURS)
) + [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml")]
PAGES: Final = [path for path in TEXTS if path.suffix == ".md"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def file_names() -> frozenset[str]:
    return frozenset(path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")) | {"README.md"}


@cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("what", OUTSIDE)
def test_nothing_outside_the_repository_is_cited(what: str) -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in TEXTS
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if OUTSIDE[what].search(line)
    ]
    assert not found, f"{what} is cited; put what it says into docs/ and cite that:\n" + "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(path), f"{name_of(page)} links to #{anchor}, which no heading of {path.name} makes"


MADE_UP = {"tests/a/sub/test_low.py", "tests/a/old/deep/test_gone.py"}
"""Of the made-up tree that tests/test_layers.py looks at."""


def cited_files(path: Path) -> Iterator[str]:
    """Files of ours that a text names: from the root everywhere, and in pages any module."""
    for cited in FILE.findall(path.read_text(encoding="utf-8")):
        from_root = cited.partition("/")[0] in FOLDERS and "/" in cited
        if from_root or (path.suffix == ".md" and cited.endswith(".py") and path != GOLDEN / "README.md"):
            yield cited


def test_cited_files_exist() -> None:
    found = [
        f"{name_of(path)}: {cited}"
        for path in TEXTS
        for cited in cited_files(path)
        if cited not in MADE_UP and not ((ROOT / cited).is_file() or ("/" not in cited and cited in file_names()))
    ]
    assert not found, "cited, but not there (moved? write the path from the root):\n" + "\n".join(found)


def test_cited_folders_and_modules_exist() -> None:
    found = []
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        found += [f"{name_of(path)}: {cited}" for cited in FOLDER.findall(text) if not is_folder_or_module(cited)]
        found += [f"{name_of(path)}: {cited}" for cited in DOTTED.findall(text) if not resolves(cited)]
    assert not found, "cited, but not there:\n" + "\n".join(found)


def is_folder_or_module(cited: str) -> bool:
    return (ROOT / cited).exists() or (ROOT / f"{cited}.py").is_file() or cited in PLANNED


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a package, a module, or something that its module or package names."""
    place, names = ROOT, dotted.split(".")
    while names and (place / names[0]).is_dir():
        place = place / names.pop(0)
    in_module = names and (place / f"{names[0]}.py").is_file()
    module = place / (f"{names.pop(0)}.py" if in_module else "__init__.py")
    source = module.read_text(encoding="utf-8") if module.is_file() else ""
    return place != ROOT and all(re.search(rf"\b{name}\b", source) for name in names)
