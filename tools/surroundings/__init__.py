"""Builds the places of the demo set from CC0 panoramas."""
