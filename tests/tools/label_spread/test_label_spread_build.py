"""Factors that are known are found again, on both sides of the body; the stored ones are such factors."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.labelling import label_spread
from pipeline.labelling.label_spread import spread_factor
from schemas.skel import N_Q, Q_NAMES, mirror_table
from tools.label_spread.build import CASES, SEEDS, factors

RIGHT, LEFT, NARROW = Q_NAMES.index("shoulder_r_x"), Q_NAMES.index("shoulder_l_x"), Q_NAMES.index("head_twist")


def test_a_known_factor_is_found_again_and_nothing_is_narrowed() -> None:
    z = np.random.default_rng(0).standard_normal((20_000, N_Q))
    z[:, [RIGHT, LEFT]] *= 2
    z[:, NARROW] *= 0.5
    found = factors(z)
    assert found[[RIGHT, LEFT]] == pytest.approx(2, rel=0.03)
    assert found[NARROW] == 1
    np.testing.assert_allclose(np.delete(found, [RIGHT, LEFT]), 1, atol=0.03)


def test_the_stored_factors_are_such() -> None:
    source, _ = mirror_table()
    np.testing.assert_array_equal(spread_factor(), spread_factor()[source])
    assert (spread_factor() >= 1).all()
    assert (spread_factor() < 4).all()
    about = json.loads(label_spread.SPREAD_FILE.read_text())["about"]
    assert (about["seeds"], about["networks"]) == (list(SEEDS), list(CASES))
    assert not {0, 1, 2} & set(SEEDS), "those judge"


def test_a_file_with_other_angles_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spread.json"
    file.write_text(json.dumps({"factors": {"elbow": 1.0}}))
    monkeypatch.setattr(label_spread, "SPREAD_FILE", file)
    spread_factor.cache_clear()
    with pytest.raises(ValueError, match=r"tools\.label_spread\.build"):
        spread_factor()
    spread_factor.cache_clear()
