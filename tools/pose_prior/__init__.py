"""Builds the pose prior of pipeline/fit/prior from motion capture that may be used."""
