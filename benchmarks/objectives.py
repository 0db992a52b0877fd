"""Which objectives this version of SKELify can minimise."""

from dataclasses import fields
from typing import Any

from pipeline.fit import SkelifyConfig


def skelify_config(**settings: Any) -> SkelifyConfig | None:
    """The configuration, or None where this version of SKELify has no such setting."""
    known = {field.name for field in fields(SkelifyConfig)}
    return SkelifyConfig(**settings) if settings.keys() <= known else None


def hsmr_config() -> SkelifyConfig | None:
    """The published objective on our solver."""
    return skelify_config(objective="hsmr")
