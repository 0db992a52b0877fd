"""Builds the open body from its CC0 sources; the result ships in pipeline/body/open_body."""
