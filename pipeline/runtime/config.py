"""Typed configuration: one frozen dataclass per component, dotted overrides. Imports no torch, so that jobs start fast.

Overrides look like `fit.batch_size=256`. OmegaConf checks the types; what is refused comes back as a `ConfigError` that
says what was met, what is valid, and the nearest valid key.
"""

import difflib
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schemas.gender import DEFAULT_GENDER, GenderChoice

Config = TypeVar("Config")
Device = Literal["auto", "cpu", "cuda"]


class ConfigError(ValueError):
    """An override or a combination of settings that cannot be used; the message says what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Input shards: paths or s3:// URLs, with braces ({000000..000002}); `dataset` stands for their folder's name;
    `calibration`: a YAML file of the cameras that took the photos (docs/camera_and_crop.md).
    """

    shards: str | None = None
    dataset: str | None = None
    calibration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Where generations live: a folder or s3://bucket/prefix; `catalog`: SQL or REST catalog URI, default SQLite."""

    root: str = "./labels"
    catalog: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyConfig:
    """The body model: `open`, or a folder with the official SKEL and SMPL files. gender: whose SKEL everyone is given;
    `auto`: each person that of the gender which the data say, where they do not the male one, as HSMR.
    """

    source: str = "open"
    gender: GenderChoice = DEFAULT_GENDER


def valid_keys(cls: type) -> dict[str, Any]:
    """Every dotted key of the dataclass tree `cls` with the type of its value, in order of declaration."""
    keys: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for item in fields(cls):
        hint = hints[item.name]
        if is_dataclass(hint):
            keys |= {f"{item.name}.{key}": leaf for key, leaf in valid_keys(hint).items()}  # pyrefly: ignore
        else:
            keys[item.name] = hint
    return keys


def load_config(cls: type[Config], overrides: list[str]) -> Config:
    """The defaults of the dataclass `cls` with `key=value` overrides applied in order.

    Raises ConfigError for a word that is not key=value, an unknown key (with the nearest valid ones) or a value of the
    wrong type.
    """
    keys = valid_keys(cls)
    config = OmegaConf.structured(cls)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} is not an override. Write key=value, for example storage.root=./labels.")
        if key not in keys:
            raise ConfigError(_unknown_key(key, list(keys)))
        try:
            config = OmegaConf.merge(config, _nested(key, _parse(text, keys[key])))
        except (OmegaConfBaseException, yaml.YAMLError, RecursionError) as error:  # the last: nested without end
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{override!r}: {_type_name(keys[key])} expected for {key}. {reason}.") from error
    try:
        return OmegaConf.to_object(config)  # pyrefly: ignore
    except ValueError as error:  # a value that its dataclass refuses
        raise ConfigError(str(error)) from error


def as_overrides(config: object) -> dict[str, str]:
    """Every dotted key of a configuration with its value as an override says it."""
    found: dict[str, str] = {}
    for key in valid_keys(type(config)):
        value: Any = config
        for name in key.split("."):
            value = getattr(value, name)
        found[key] = _as_text(value)
    return found


def _as_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_as_text, value))}]" if isinstance(value, tuple) else str(value)


def to_yaml(config: object) -> str:
    """The whole tree as YAML, for the lineage."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _parse(text: str, hint: Any) -> Any:
    """Text stays as typed where text is expected: YAML would read {0..3}.tar as a mapping and 000123 as a number."""
    choices = get_args(hint) or (hint,)
    if NoneType in choices and text in {"null", "none", ""}:
        return None
    if "${" in text:
        raise ConfigError(f"{text!r}: interpolation is not supported. Write the value itself.")
    if get_origin(hint) is tuple:  # written as [a,b]
        return yaml.safe_load(text)
    if str in choices or all(isinstance(choice, str) for choice in choices):
        return text
    return yaml.safe_load(text)


def _nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _unknown_key(key: str, keys: list[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
    same_leaf = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2] and known not in near]
    section = [known for known in keys if known.startswith(key.partition(".")[0] + ".")]
    suggestions = near or same_leaf
    meant = f" Did you mean {' or '.join(suggestions[:3])}?" if suggestions else ""
    return f"Unknown key {key!r}.{meant}\nValid keys: {', '.join(section or keys)}"


def _type_name(hint: Any) -> str:
    arguments = get_args(hint)
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return "one of " + ", ".join(arguments)
    return getattr(hint, "__name__", str(hint)) if not arguments else str(hint)
