"""What the commands read from their surroundings: the Ray cluster to use and the revision of the code."""

import os
import subprocess
import sys
from pathlib import Path


def ray_address() -> str | None:
    """The cluster to connect to, None for a Ray of our own. Raises ConfigError for the address of a job server."""
    from pipeline.runtime.config import ConfigError

    address = os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith(("http://", "https://")):
        command = "ray job submit -- python " + " ".join(sys.argv)
        raise ConfigError(
            f"RAY_ADDRESS={address} is the address of a job server. Submit the command to it: {command}\n"
            "or unset RAY_ADDRESS to run on this machine."
        )
    return address


def code_revision() -> str:
    """Commit of the working copy, `-dirty` when files differ from it; `unknown` where there is none."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
