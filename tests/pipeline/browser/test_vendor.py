"""The libraries that ship are those that their README states."""

import hashlib
import re

from pipeline.browser.app import STATIC
from tests.repository import ROOT


def test_checksums_are_those_of_the_readme() -> None:
    folder = ROOT / "pipeline" / "browser" / "static" / "vendor"
    stated = dict(re.findall(r"\| `([\w.]+)` \|.*\| `([0-9a-f]{64})` \|", (folder / "README.md").read_text()))
    shipped = {path.name for path in folder.iterdir()} - {"README.md", "LICENSES.txt"}
    assert shipped == set(stated)
    for name, digest in stated.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in (ROOT / "pipeline" / "browser" / "static").glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href|from|import|url)\s*[=(]?\s*["'(]?(?:https?:)?//""", text), path
        assert "innerHTML" not in text, path
        assert "dangerouslySetInnerHTML" not in text, path
    assert (STATIC / "index.html").is_file()
