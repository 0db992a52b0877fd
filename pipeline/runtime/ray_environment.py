"""What Ray reads from the environment as it is imported: a job calls this first. Imports no Ray itself."""

import secrets
import sys
from collections.abc import MutableMapping


def prepare_ray(environment: MutableMapping[str, str]) -> None:
    """Set what a Ray of our own needs: no usage report, a token of its own in place of one in the home folder, and
    threads that wait asleep, since actors share the cores.

    A first `ray.init()` would otherwise write ~/.ray/auth_token, after which `ray start` demands that token of every
    client, `ray job submit` included. What the environment says is kept. Raises RuntimeError if it is too late.
    """
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    if environment.get("RAY_ADDRESS") or "RAY_AUTH_MODE" in environment:
        return
    if "ray" in sys.modules:
        raise RuntimeError("prepare_ray must be called before Ray is imported: Ray reads its environment only then")
    environment["RAY_AUTH_MODE"] = "token"
    environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
