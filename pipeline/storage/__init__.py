"""Folders of immutable files, on the local disk or on S3."""
