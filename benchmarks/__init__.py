"""Benchmarks: `python -m benchmarks --help`. What the tables mean: docs/performance.md."""
