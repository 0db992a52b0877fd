"""Rounds 0 and 1 of made-up people, a made-up video and people with hostile names, for the tests in Chromium."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.demo_set import make_demo_set
from pipeline.shards import write_shard
from tests.pipeline.rounds.made_shards import make_samples
from tests.pipeline.rounds.made_video import make_video
from tests.repository import ROOT

PEOPLE = 24
FRAMES = 16
HOSTILE_DATASET = "<b onclick=alert(1)>"
HOSTILE_KEYS = (
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE people; --",
    '"><script>alert(1)</script>',
    "{{constructor}} ${alert(1)} %s",
)


def make_rounds(folder: Path) -> Path:
    """Publish both rounds below the folder; returns the storage root."""
    made = [folder / name for name in ("demo", "video", HOSTILE_DATASET)]
    make_demo_set(made[0], people=PEOPLE)
    for other in made[1:]:
        other.mkdir(parents=True)
    write_shard(str(made[1] / "000000.tar"), make_video("clip", np.arange(FRAMES), seed=1).samples)
    hostile = [replace(item, key=key) for item, key in zip(make_samples(4, seed=3), HOSTILE_KEYS, strict=True)]
    write_shard(str(made[2] / "000000.tar"), hostile)
    root = folder / "labels"
    shards = f"{folder}/{{demo/{{000000..000003}},video/000000,{HOSTILE_DATASET}/000000}}.tar"
    settings = [f"storage.root={root}", "run.progress=false", "fit.device=cpu", "run.actors=1"]
    for words in (["--round", "0", f"data.shards={shards}"], ["--round", "1"]):
        job = [sys.executable, str(ROOT / "jobs" / "refine_round.py"), *words, *settings]
        done = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return root
