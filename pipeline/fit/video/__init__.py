"""Whole tracks: one shape, smooth motion."""
