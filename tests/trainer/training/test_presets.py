"""Presets: every number of the published recipes, each overridable, and shown in full."""

import pytest

from jobs.presets import known_keys, preset_lines
from jobs.run_loop import _configs
from pipeline.rounds.round_config import RoundConfig
from pipeline.runtime.config import ConfigError, as_overrides, load_config
from trainer.training.presets import PRESETS, RefinementRhythm, with_preset
from trainer.training.train_config import TrainConfig, config_digest

MIX = "h36m=0.1,mpii=0.1,coco14=0.1,coco14-vitpose=0.1,mpi-inf-3dhp=0.02,ava=0.19,aic=0.19,insta=0.2"
OF_ALL: dict[str, bool | int | float | str] = {
    "network.variant": "h",
    "network.drop_path": 0.55,
    "optimizer.learning_rate": 1e-5,
    "optimizer.weight_decay": 1e-4,
    "optimizer.precision": "float16",
    "data.mix": MIX,
    "data.global_batch": 8 * 78,
    "data.lanes": 8,
    "data.fewest_keypoints": 5,
    "data.pseudo_labels.max_fitting_loss": 31_000,
    "data.pseudo_labels.max_betas": 3,
    "data.augment.scale": 0.3,
    "data.augment.rotation_deg": 30,
    "data.augment.rotation_p": 0.6,
    "data.augment.shift": 0.02,
    "data.augment.color": 0.2,
    "data.augment.flip_p": 0.5,
    "data.augment.extreme_p": 0.1,
    "loss.keypoints_3d": 0.05,
    "loss.keypoints_2d": 0.01,
    "loss.betas": 0.0005,
    "loss.unlabelled_betas": 0.0005,
    "loss.body": 0.001,
}
OF_SKEL: dict[str, bool | int | float | str] = {
    "network.head": "skel",
    "data.weights.q_std_half": "inf",
    "data.weights.poor_fit": 0,
    "loss.orient": 0.002,
    "loss.limits": 0,
    "prior.weight": 0,
    "accept.betas_limit": 2,
}
OF_SMPL: dict[str, bool | int | float | str] = {
    "network.head": "smpl",
    "loss.orient": 0.001,
    "prior.weight": 0.0005,
    "prior.learning_rate": 1e-5,
    "prior.weight_decay": 1e-4,
}
EXPECTED = {
    "hsmr": OF_ALL | OF_SKEL,
    "hmr2": OF_ALL | OF_SMPL,
    "skel-cf": OF_ALL | OF_SKEL | {"network.camera": "full", "network.refine_layers": True},
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_of_a_preset(name: str) -> None:
    chosen = PRESETS[name]
    assert {setting.key: setting.value for setting in chosen.settings} == EXPECTED[name]
    assert len(chosen.settings) == len(EXPECTED[name]), "nothing is said twice"
    assert all(setting.source for setting in chosen.settings)


def test_the_mix_adds_up_to_one() -> None:
    config = load_config(TrainConfig, [f"data.mix={MIX}"])
    assert sum((config.data.mix_weights() or {}).values()) == pytest.approx(1)


def test_what_a_round_stands_for() -> None:
    """About an epoch: everybody is refined once."""
    rhythm = PRESETS["hsmr"].rhythm
    assert rhythm == RefinementRhythm(first_step=5_000, every_steps=230, samples=18_000)
    assert rhythm is not None
    assert rhythm.steps_of_round(8 * 18_000) == pytest.approx(230)
    assert rhythm.steps_of_round(1_000_000) == pytest.approx(1_000_000 / 624, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_values_reach_the_configurations(name: str) -> None:
    refine, train = _configs([f"preset={name}"])
    found = as_overrides(refine) | as_overrides(train)
    for key, value in EXPECTED[name].items():
        assert found[key] == str(type_of(found[key])(value)).lower() if not isinstance(value, str) else value, key
    assert refine.data.pseudo_labels == train.data.pseudo_labels


def type_of(text: str) -> type:
    return bool if text in {"true", "false"} else float if "." in text or "e" in text else int


def test_an_override_comes_after_the_preset_wherever_it_stands() -> None:
    known = known_keys([TrainConfig])
    for words in (["preset=hsmr", "network.variant=b"], ["network.variant=b", "preset=hsmr"]):
        config = load_config(TrainConfig, with_preset(words, known))
        assert (config.network.variant, config.network.drop_path) == ("b", 0.55)
    assert with_preset(["storage.root=x"], known) == ["storage.root=x"]


def test_presets_that_cannot_be_had() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'hsm'.*\n.*preset=hsmr: .*\n"):
        with_preset(["preset=hsm"], set())
    with pytest.raises(ConfigError, match="one preset expected"):
        with_preset(["preset=hsmr", "preset=skel-cf"], set())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_in_full(name: str) -> None:
    """Its lines are overrides, and make the configuration that it makes."""
    lines = [line for line in preset_lines([RoundConfig, TrainConfig], [f"preset={name}"]) if line[0] != "#"]
    assert {line.partition("=")[0] for line in lines} == known_keys([RoundConfig, TrainConfig])
    assert sum("  # " in line for line in lines) == len(EXPECTED[name])
    shown = [line.partition("  # ")[0] for line in lines]
    assert _configs(shown) == _configs([f"preset={name}"])


def test_the_settings_that_presets_need_leave_earlier_runs_what_they_were() -> None:
    """Digests by the code from before there were presets."""
    settings = ["network.variant=tiny", "loss.limits=0.1", "prior.weight=0.0005", "data.mix=a=1,b=2"]
    config = load_config(TrainConfig, [*settings, "optimizer.decay=cosine"])
    assert config_digest(config).startswith("78b8a77472042199")
    for override in ("network.drop_path=0.1", "loss.unlabelled_betas=0.1", "data.fewest_keypoints=5",
                     "data.pseudo_labels.max_betas=3"):  # fmt: skip
        assert config_digest(load_config(TrainConfig, [override])) != config_digest(TrainConfig())
