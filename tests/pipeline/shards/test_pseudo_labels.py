"""Which pseudo-labels are believed, as read from shards that say what their fits left."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.rounds.round_config import RoundConfig, config_digest
from pipeline.runtime.config import ConfigError, load_config
from pipeline.shards import RawSample, list_shards, person_record, read_shard, write_shard
from pipeline.shards.person_record import check_person
from pipeline.shards.pseudo_labels import PseudoLabelConfig, believed, with_believed_labels
from schemas.person import PersonId, Photo, SmplLabel
from tests.pipeline.shards.samples import person, photo_bytes

PUBLISHED = PseudoLabelConfig(max_fitting_loss=31_000, max_betas=3)


def held(loss: object) -> np.ndarray:
    return np.array({"reprojection_loss": loss}, dtype=object)


def label(betas: float = 0.0, loss: float | None = None) -> SmplLabel:
    shape = np.zeros(10, np.float32)
    shape[3] = betas
    return SmplLabel(pose=np.zeros((24, 3), np.float32), betas=shape, fitting_loss=loss)


def test_the_published_bounds() -> None:
    assert all(PUBLISHED.believes(each) for each in (label(), label(3.0), label(-3.0), label(loss=31_000.0)))
    assert not any(PUBLISHED.believes(each) for each in (label(3.01), label(-3.01), label(loss=31_000.5)))
    assert PseudoLabelConfig().believes(label(9.0, 1e9))
    assert believed(None, PUBLISHED) is None
    assert believed(label(4.0), PUBLISHED) is None


@pytest.mark.parametrize(
    ("fitting_loss", "expected"),
    [
        (held(np.float32(31234.5)), 31234.5),
        (held(7), 7.0),
        ({"reprojection_loss": 5.0}, 5.0),
        (np.array({}, dtype=object), None),
        (held(None), None),
        (held("31000"), None),
        (held(float("nan")), None),
        (held(10**400), None),
        (held(True), None),
        (held(np.zeros(3)), None),
        (np.zeros(3), None),
        (3.0, None),
        (None, None),
    ],
)
def test_what_a_shard_says_of_the_fit(fitting_loss: object, expected: float | None) -> None:
    """Nothing that stands there instead can do harm."""
    smpl = label()
    info = {} if fitting_loss is None else {"fitting_loss": fitting_loss}
    record = person_record(
        keypoints_2d=np.zeros((44, 3)), center=(48, 32), scale=(0.3, 0.3), smpl=smpl, extra_info=info
    )
    found = check_person(record, PersonId("made", "0", "a", 0), (96, 64)).person.smpl
    assert found is not None
    assert found.fitting_loss == expected
    assert found.has_betas


def test_a_shape_that_is_not_labelled_is_told_apart() -> None:
    record = person(0) | {"has_betas": np.float32(0)}
    found = check_person(record, PersonId("made", "0", "a", 0), (96, 64)).person.smpl
    assert found is not None
    assert not found.has_betas
    assert not found.betas.any()


def test_photos_of_a_shard(tmp_path: Path) -> None:
    people = [person(i) for i in range(3)]
    people[0] |= {"betas": np.full(10, 1, np.float32)}
    people[1] |= {"betas": np.full(10, 4, np.float32)}
    people[2] |= {"extra_info": {"fitting_loss": held(1e6)}, "betas": np.zeros(10, np.float32)}
    write_shard(str(tmp_path / "000000.tar"), [RawSample(key="a", jpeg=photo_bytes(), people=people)])
    (photo,) = (item for shard in list_shards(str(tmp_path / "000000.tar")) for item in read_shard(shard))
    assert isinstance(photo, Photo)
    assert with_believed_labels(photo, PseudoLabelConfig()) is photo
    kept = with_believed_labels(photo, PUBLISHED)
    assert [each.smpl is not None for each in kept.people] == [True, False, False]
    assert [each.id for each in kept.people] == [each.id for each in photo.people]


def test_settings() -> None:
    with pytest.raises(ConfigError, match=r"data.pseudo_labels.max_betas=0.0: a positive number"):
        load_config(RoundConfig, ["data.pseudo_labels.max_betas=0"])
    before = "d0776df5f61062fb090a4fda8d3c5a855c7819f0d1a24ba15daae8c751b69771"  # since labels have a gender
    assert config_digest(RoundConfig()) == before, "by the code before: staged shards are found again"
    assert config_digest(load_config(RoundConfig, ["data.pseudo_labels.max_betas=3"])) != before
