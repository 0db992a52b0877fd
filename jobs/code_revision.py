"""The revision of this working copy, for the lineage."""

import subprocess
from pathlib import Path


def code_revision() -> str:
    """Commit of the working copy, `-dirty` when files differ from it; `unknown` where there is none."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
