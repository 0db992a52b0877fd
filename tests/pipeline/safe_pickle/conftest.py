"""The body whose files the tests of this folder read."""

from tests.pipeline.body.standin import standin_folder

__all__ = ["standin_folder"]
