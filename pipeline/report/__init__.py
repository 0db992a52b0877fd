"""Reports: one self-contained HTML file on a generation, or on a training run (docs/report.md)."""
