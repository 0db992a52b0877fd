"""Settings that cannot work are refused with what to set instead."""

import pytest

from pipeline.runtime.config import ConfigError, load_config
from trainer.data import AugmentConfig, TrainDataConfig


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("global_batch=20", "global_batch=24"),
        ("lanes=0", "at least 1"),
        ("workers=-1", "workers"),
        ("mix=a=1,b", "DATASET=WEIGHT"),
        ("mix=a=0", "positive"),
        ("held_out_share=1.5", r"\[0, 1\]"),
        ("fold=1", "fold=1 with folds=1"),
        ("folds=0", "folds=0"),
        ("augment.flip_p=2", "probability"),
        ("augment.scale=1", "scale"),
        ("augment.shifts=1", "augment.shift"),
    ],
)
def test_refused(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(TrainDataConfig, [override])


def test_accepted() -> None:
    config = load_config(TrainDataConfig, ["mix=aic=2,coco=0.5", "global_batch=16", "augment.enabled=false"])
    assert config.mix_weights() == {"aic": 2.0, "coco": 0.5}
    assert config.augment == AugmentConfig(enabled=False)
    assert TrainDataConfig().mix_weights() is None
