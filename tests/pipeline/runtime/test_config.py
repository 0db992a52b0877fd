"""Overrides: what is accepted, what is refused, and what the refusal says."""

import dataclasses

import pytest
import yaml

from pipeline.rounds.round_config import FitConfig, RoundConfig, config_digest
from pipeline.runtime.config import ConfigError, load_config, to_yaml, valid_keys


def load(*overrides: str) -> RoundConfig:
    return load_config(RoundConfig, list(overrides))


def test_defaults_are_those_of_the_dataclasses() -> None:
    assert load() == RoundConfig()


def test_overrides_reach_their_field_with_its_type() -> None:
    config = load("fit.batch_size=64", "fit.device=cpu", "run.progress=false", "audit.max_rejected_share=0.25")
    assert (config.fit.batch_size, config.fit.device, config.run.progress) == (64, "cpu", False)
    assert load("run.actors=2", "run.actors=3").run.actors == 3, "the last one counts"


@pytest.mark.parametrize("text", ["DIR/{000000..000002}.tar", "{0..3}.tar", "s3://b/p/{000..009}.tar", "000123", "a=b"])
def test_text_is_taken_as_typed(text: str) -> None:
    assert load(f"data.shards={text}").data.shards == text


def test_optional_settings_can_be_unset() -> None:
    assert load("data.dataset=x", "data.dataset=null").data.dataset is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("storage.rot=/tmp", r"'storage\.rot'.*Did you mean storage\.root"),
        ("storge.root=/tmp", r"Did you mean storage\.root"),
        ("shards=x.tar", r"Did you mean data\.shards"),
        ("actors=3", r"Did you mean .*run\.actors"),
        ("qqqqqqqq=3", r"Valid keys: data\.shards"),
        ("storage.root", r"not an override.*key=value"),
        ("fit.batch_size=many", r"int expected for fit\.batch_size"),
        ("fit.batch_size=[1,2]", r"int expected for fit\.batch_size"),
        ("fit.batch_size={", r"int expected for fit\.batch_size"),
        ("run.progress=perhaps", r"bool expected"),
        ("body.gender=robot", r"one of male, female, auto expected"),
        ("data=3", r"Unknown key 'data'.*\n.*data\.shards"),
        ("storage.root=${oc.env:HOME}", r"interpolation is not supported"),
        ("fit.batch_size=0", r"fit\.batch_size=0.*at least 1"),
        ("run.actors=-1", r"run\.actors=-1"),
        ("fit.track.fps=0", r"fit\.track\.fps=0.*1 to 1000"),
        ("fit.track.fps=.nan", r"fit\.track\.fps=nan"),
        ("fit.track.max_frames=2", r"fit\.track\.max_frames=2.*at least 3"),
    ],
)
def test_refusals_say_what_to_write(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(override)


def test_every_key_can_be_named() -> None:
    keys = valid_keys(RoundConfig)
    assert {
        "data.shards",
        "storage.root",
        "body.source",
        "fit.device",
        "run.actors",
        "predict.checkpoint",
    } <= keys.keys()


def test_digest_changes_with_labels_only() -> None:
    same = ["run.actors=7", "storage.root=/elsewhere", "run.progress=false", "data.shards=x.tar", "run.attempts=5"]
    assert {config_digest(load(override)) for override in same} == {config_digest(load())}
    other = ["fit.batch_size=7", "fit.device=cpu", "fit.dtype=float32", "fit.temporal=true", "fit.track.fps=25"]
    digests = {config_digest(load(override)) for override in other} | {config_digest(load())}
    assert len(digests) == len(other) + 1


def test_video_needs_our_objective() -> None:
    with pytest.raises(ConfigError, match=r"fit\.temporal=true needs fit\.skelify\.objective=robust"):
        load("fit.temporal=true", "fit.skelify.objective=hsmr")


def test_yaml_names_every_setting() -> None:
    config = load("run.actors=3")
    assert yaml.safe_load(to_yaml(config)) == yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config)))
    assert dataclasses.is_dataclass(FitConfig)
