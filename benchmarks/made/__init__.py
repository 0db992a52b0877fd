"""Made-up people, labels, frames and clips that the benchmarks share."""
