"""`preset=NAME` among the overrides of a command: its settings first, and `--keys` shows what they come to."""

from collections.abc import Iterator, Sequence

from pipeline.runtime.config import as_overrides, load_config, valid_keys
from trainer.training.presets import RefinementRhythm, split_preset, with_preset


def known_keys(settings: Sequence[type]) -> set[str]:
    """Every key of these dataclasses."""
    return {key for cls in settings for key in valid_keys(cls)}


def preset_lines(settings: Sequence[type], words: list[str]) -> Iterator[str]:
    """Every key of these dataclasses with its value under the preset that the words name, and where the value is from.

    A line is an override. Raises ConfigError for an unknown preset.
    """
    chosen, _ = split_preset([word for word in words if word.startswith("preset=")])
    if chosen is None:
        return
    values: dict[str, str] = {}
    for cls in settings:
        values |= as_overrides(load_config(cls, with_preset([f"preset={chosen.name}"], set(valid_keys(cls)))))
    sources = {setting.key: setting.source for setting in chosen.settings}
    yield f"# {chosen.what}"
    yield from _rhythm_lines(chosen.rhythm)
    for key, value in values.items():
        yield f"{key}={value}" + (f"  # {sources[key]}" if key in sources else "")


def _rhythm_lines(rhythm: RefinementRhythm | None) -> Iterator[str]:
    if rhythm is not None:
        yield (
            f"# the original refines labels every {rhythm.every_steps} steps, those of the last {rhythm.samples} "
            f"samples a rank, from step {rhythm.first_step} on; a round of 1,000,000 people stands for "
            f"{rhythm.steps_of_round(1_000_000):.0f} of its steps"
        )
