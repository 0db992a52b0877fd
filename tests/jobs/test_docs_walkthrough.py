"""docs/labels.md, "A data engineer's day", executed: every command runs, and prints what the page shows.

Numbers, digests and times may differ. `UPDATE_DOCS=1 pytest -m slow tests/jobs/test_docs_walkthrough.py` writes what
was really printed into the page.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repository import ROOT

PAGE = ROOT / "docs" / "labels.md"
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
_DIGEST = re.compile(r"[0-9a-f]{7,}(-dirty)?")
_NUMBER = re.compile(r"[-+]?\d[\d.,:e+TZ-]*")


@dataclass(frozen=True)
class Command:
    """One `$ command` of the page, and the output shown below it."""

    line: str
    shown: str


def commands(block: str) -> list[Command]:
    """The commands of a console block. A command goes on while its quotes or its here-document are open."""
    found = []
    for part in _PROMPT.split(block)[1:]:
        lines = part.splitlines()
        length = next(n for n in range(1, len(lines) + 1) if complete("\n".join(lines[:n])))
        found.append(Command("\n".join(lines[:length]), "\n".join(lines[length:])))
    return found


def complete(text: str) -> bool:
    """Whether bash would run this without asking for more."""
    asked = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and "here-document" not in asked.stderr and not text.endswith("\\")


def same(one: str, other: str) -> bool:
    """Equal but for numbers, digests, times, and the width of columns and rules."""
    return normal(one) == normal(other)


def normal(text: str) -> list[str]:
    lines = [re.sub(r"\s+", " ", re.sub(r"[─━]+", "-", line)).strip() for line in text.splitlines()]
    # digests first: the dash before one that begins with digits would make a number of those
    return [_NUMBER.sub("#", _DIGEST.sub("#", line)) for line in lines if line]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "110"}
    different = []

    def run(block: re.Match[str]) -> str:
        text = ["```console\n"]
        for command in commands(block[1]):
            done = subprocess.run(
                ["bash", "-c", f"exec 2>&1\n{command.line}"],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            printed = "\n".join(line.rstrip() for line in done.stdout.splitlines()).replace(str(tmp_path), "/data")
            # Where the page shows nothing, the command must run without a crash; what it prints is not compared.
            if "Traceback" in printed or (command.shown and not same(printed, command.shown)):
                different.append(f"$ {command.line}\n{printed}\n--- shown:\n{command.shown}")
            text.append(f"$ {command.line}\n{printed}\n" if printed else f"$ {command.line}\n")
        return "".join([*text, "```"])

    printed_page = _BLOCK.sub(run, page)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(printed_page, encoding="utf-8")
        pytest.skip("docs/labels.md now shows what was printed: read it")
    assert not different, "\n\n".join(different)


def test_commands_are_told_from_their_output() -> None:
    block = "$ echo 1\n1\n$ python - <<'E'\nprint(2)\nE\n2\n3\n$ true\n"
    assert commands(block) == [
        Command("echo 1", "1"),
        Command("python - <<'E'\nprint(2)\nE", "2\n3"),
        Command("true", ""),
    ]
    assert same("run 0123abcdef at 2026-01-01T00:00:00Z  1.5\n ──", "run fedcba98765 at 2027-02-03T10:00:00Z 22\n ────")
    assert same("forgotten-round-2-6045976d16a1, 3 left", "forgotten-round-2-7b746090c200, 4 left")
    assert not same("round 1", "rounds 1")


def test_the_page_shows_every_subcommand_of_the_jobs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for job, names in {
        "manage_labels.py": ("rollback", "forget", "withdrawn", "expire", "verify", "export", "import", "relocate"),
        "inspect_labels.py": ("rounds", "show", "diff", "sql", "lineage"),
    }.items():
        for name in names:
            assert f"jobs/{job} {name}" in page, f"{job} {name}"
