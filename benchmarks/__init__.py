"""Benchmarks: `python -m benchmarks --help`. What the tables mean: docs/performance.md."""

import os
import sys

from pipeline.runtime.ray_environment import prepare_ray

if "ray" not in sys.modules:  # it reads its environment as it is imported; in its workers it already is
    prepare_ray(os.environ)
