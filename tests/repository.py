"""Where things are: the repository, and the folder of inputs beside it that a user's clone lacks."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = ROOT / "tests" / "golden"
