"""The figures of a report against tables made by hand."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.report.figures import label_figures, matched
from pipeline.report.histogram import Histograms
from pipeline.report.people import SHOWN, shown_people
from schemas.labels import LABEL_SCHEMA
from schemas.skel import q_limits
from tests.pipeline.labels.label_tables import label_table, replace_column


def with_vectors(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    kind = LABEL_SCHEMA.field(name).type
    index = table.schema.get_field_index(name)
    array = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), type=kind)
    return table.set_column(index, table.schema.field(name), array)


def in_the_middle(rows: int) -> np.ndarray:
    """q of people with every joint in the middle of its range."""
    low, high = q_limits()
    return np.tile((low + high) / 2, (rows, 1))


def test_counts_quantiles_and_means_of_a_table() -> None:
    table = label_table("photos", "000000", round=1, rows=20)  # every tenth has no label
    error = np.linspace(1, 10, 20)
    figures = label_figures(replace_column(table, "kp2d_error", error / 256))
    assert (figures.people, figures.labelled) == (20, 18)
    assert figures.decisions == {"improved": 18, "no_label": 2}
    labelled = error[np.arange(20) % 10 != 9]
    assert figures.mean("kp2d_error") == pytest.approx(labelled.mean())
    assert figures.quantile("kp2d_error", 0.5) == pytest.approx(np.quantile(labelled, 0.5), abs=0.5)
    assert figures.quantile("kp2d_error", 1.0) == pytest.approx(labelled.max(), abs=128 / 2048)


def test_unknown_values_count_for_nothing() -> None:
    table = label_table("photos", "000000", rows=20)
    figures = label_figures(replace_column(table, "kp2d_error", pa.nulls(20, pa.float64())))
    assert figures.quantile("kp2d_error", 0.5) is None
    assert figures.mean("kp2d_error") is None


def test_no_focal_length_is_the_camera_of_hsmr() -> None:
    table = label_table("photos", "000000", rows=20)
    table = replace_column(table, "focal", pa.nulls(20, pa.float64()))
    figures = label_figures(replace_column(table, "camera_source", pa.nulls(20, pa.string())))
    assert figures.mean("focal") == pytest.approx(5000 / 256)
    assert figures.cameras == {"hsmr": 18}


def test_labels_beyond_a_limit_are_counted_by_joint() -> None:
    q = in_the_middle(20)
    low, high = q_limits()
    q[0, 6] = high[6] + 0.1  # the knee
    q[1, 6] = low[6] - 0.2
    q[2, 7] = high[7] + 1e-6  # rounding
    q[3, 0] = 9.0  # the pelvis turns freely
    q[9, 8] = 99.0  # of somebody without a label
    figures = label_figures(with_vectors(label_table("photos", "0", rows=20), "q", q))
    assert np.flatnonzero(figures.outside).tolist() == [6]
    assert figures.outside[6] == 2
    assert figures.worst_deg[6] == pytest.approx(np.degrees(0.2), abs=1e-3)


def test_shards_add_up_to_the_whole() -> None:
    parts = [label_table("photos", shard, round=1, rows=20) for shard in ("000000", "000001")]
    whole, added = label_figures(pa.concat_tables(parts)), label_figures(parts[0]) + label_figures(parts[1])
    assert (whole.people, whole.decisions, whole.starts) == (added.people, added.decisions, added.starts)
    for name in ("scalars", "q", "betas"):
        np.testing.assert_array_equal(getattr(whole, name).counts, getattr(added, name).counts)
        np.testing.assert_allclose(getattr(whole, name).sums, getattr(added, name).sums)


def test_people_are_matched_whatever_the_order_of_rows() -> None:
    before = label_table("photos", "000000", rows=20)
    q = in_the_middle(20)
    before = with_vectors(before, "q", q)
    moved = q.copy()
    moved[4] += np.radians(3.0)
    after = with_vectors(before, "q", moved).take(pa.array(np.arange(20)[::-1]))
    found = matched(after, before)
    assert found.changes.people == 18
    assert (found.changes.gained, found.changes.lost) == (0, 0)
    assert found.changed_deg[15] == pytest.approx(3.0, abs=1e-4)
    assert np.isnan(found.changed_deg[10])  # row 9, without a label
    np.testing.assert_allclose(found.changes.q_sums, 3.0, atol=1e-3)


def test_labels_gained_and_lost() -> None:
    before = label_table("photos", "000000", rows=20)
    after = before.slice(1)  # somebody is gone, who had a label
    labelled = after["has_label"].to_numpy().copy()
    labelled[0], labelled[8] = False, True  # one loses it, one gets it
    found = matched(replace_column(after, "has_label", labelled), before).changes
    assert (found.people, found.gained, found.lost) == (16, 1, 2)


def test_a_turn_through_the_back_is_a_small_change() -> None:
    q = in_the_middle(20)
    before = with_vectors(label_table("photos", "0", rows=20), "q", q + np.eye(46)[0] * 3.13)
    after = with_vectors(before, "q", q - np.eye(46)[0] * 3.13)
    found = matched(after, before)
    assert found.changed_deg[0] == pytest.approx(np.degrees(2 * np.pi - 6.26) / 46, abs=1e-3)


def test_the_worst_the_most_changed_and_the_same_by_lot() -> None:
    table = label_table("photos", "000000", rows=200)
    error = np.random.default_rng(0).permutation(200) + 1.0
    table = replace_column(table, "kp2d_error", error / 256)
    changed = np.where(np.arange(200) < 30, np.arange(200.0), np.nan)
    people = shown_people(table, np.full(200, np.nan), changed)
    labelled = np.arange(200) % 10 != 9
    wanted = sorted(error[labelled], reverse=True)[:SHOWN]
    assert [person.error_px for person in people.worst] == pytest.approx(wanted)
    assert [person.changed_deg for person in people.most_changed] == sorted(changed[labelled & (changed >= 0)])[::-1][
        :24
    ]
    assert len({person.id for person in people.by_lot}) == SHOWN
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(200)))
    nothing = np.full(200, np.nan)
    assert shown_people(shuffled, nothing, nothing).by_lot == shown_people(table, nothing, nothing).by_lot


def test_people_of_shards_add_up() -> None:
    nothing = np.full(40, np.nan)
    parts = [shown_people(label_table("photos", s, rows=40), nothing, nothing) for s in ("000000", "000001")]
    both = parts[0] + parts[1]
    assert len(both.worst) == len(both.by_lot) == SHOWN
    errors = [person.error_px or 0 for person in both.worst]
    assert errors == sorted(errors, reverse=True)
    assert max(errors) == max(person.error_px or 0 for part in parts for person in part.worst)
    assert both.most_changed == ()


def test_histograms_keep_what_lies_outside_in_their_end_bins() -> None:
    values = np.array([[-5.0], [0.5], [9.5], [50.0], [np.nan]])
    found = Histograms.of(values, np.zeros(1), np.full(1, 10.0), 10)
    assert found.counts[0].tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.people() == 4
    assert found.mean() == pytest.approx(55 / 4)
    assert found.coarse(np.array([0.0, 5.0, 10.0])).tolist() == [2, 2]
    assert found.quantile(0.25) == pytest.approx(0.5)


def test_quantiles_step_over_empty_bins() -> None:
    found = Histograms.of(np.array([[1.5], [8.5]]), np.zeros(1), np.full(1, 10.0), 10)
    assert found.quantile(0.0) == pytest.approx(1.0)
    assert 1.0 <= (found.quantile(0.5) or 0) <= 9.0
    assert found.quantile(1.0) == pytest.approx(9.0)
