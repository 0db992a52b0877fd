"""Who belongs to a track, and how a long one is cut."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labelling.tracks import MARGIN, TrackPart, find_tracks, tracks_within
from schemas.gender import Gender
from schemas.person import Person, PersonId, RejectionReason


def person(index: int, track: tuple[str, int] | None, fps: float | None = None) -> Person:
    return Person(
        id=PersonId("d", "s", f"k{index}", 0),
        keypoints_2d=np.zeros((44, 3), np.float32),
        keypoints_3d=np.zeros((44, 4), np.float32),
        center=np.zeros(2, np.float32),
        side=100.0,
        smpl=None,
        track=track,
        fps=fps,
    )


def people(*tracks: tuple[str, int] | None, fps: float | None = None) -> list[Person]:
    return [person(i, track, fps) for i, track in enumerate(tracks)]


def rows(parts: list[TrackPart]) -> list[list[int]]:
    return [part.rows.tolist() for part in parts]


def test_frames_are_put_in_order_and_gaps_are_gaps_in_time() -> None:
    parts, rejections = find_tracks(people(("a", 9), None, ("a", 2), ("b", 0), ("a", 3), ("b", 1)), 10.0, 100)
    assert rows(parts) == [[2, 4, 0], [3, 5]]
    np.testing.assert_allclose(parts[0].times, [0, 0.1, 0.7])
    assert all(part.wanted.all() for part in parts)
    assert not rejections


def test_a_recorded_frame_rate_counts_and_parts_tracks_of_one_name() -> None:
    filmed = [person(0, ("a", 0), 50.0), person(1, ("a", 1), 50.0), person(2, ("a", 2)), person(3, ("a", 3))]
    parts, _ = find_tracks(filmed, 10.0, 100)
    assert rows(parts) == [[0, 1], [2, 3]]
    np.testing.assert_allclose([part.times[1] for part in parts], [0.02, 0.1])


def test_one_frame_is_no_track() -> None:
    assert find_tracks(people(("a", 1), ("b", 1), None), 30.0, 100) == ([], [])


def test_who_claims_the_same_frame_is_taken_out_and_recorded() -> None:
    parts, rejections = find_tracks(people(("a", 0), ("a", 1), ("a", 1), ("a", 2), ("b", 1)), 30.0, 100)
    assert rows(parts) == [[0, 3]]
    assert [(r.key, r.person, r.reason) for r in rejections] == [
        (key, 0, RejectionReason.DUPLICATE_FRAME) for key in ("k1", "k2")
    ]
    assert "2 people are frame 1 of track 'a'" in rejections[0].detail


def test_huge_frame_numbers_keep_their_distances() -> None:
    parts, _ = find_tracks(people(("a", 2**31 - 1), ("a", 2**31 - 2)), 1000.0, 100)
    np.testing.assert_allclose(np.diff(parts[0].times), 1e-3)


@pytest.mark.parametrize("count", [100, 101, 250, 1000])
def test_a_long_track_is_cut_into_parts_that_overlap(count: int) -> None:
    parts, _ = find_tracks(people(*(("a", i) for i in range(count))), 30.0, 100)
    assert max(len(part.rows) for part in parts) <= 100
    assert np.concatenate([part.rows[part.wanted] for part in parts]).tolist() == list(range(count))
    for part in parts:
        inside = np.flatnonzero(part.wanted)
        assert inside[0] == (0 if part.rows[0] == 0 else MARGIN)
        assert len(part.rows) - 1 - inside[-1] == (0 if part.rows[-1] == count - 1 else MARGIN)


@given(
    tracks=st.lists(st.none() | st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=60),
    max_frames=st.integers(3, 12),
)
def test_everyone_is_wanted_at_most_once(tracks: list[tuple[str, int] | None], max_frames: int) -> None:
    parts, rejections = find_tracks(people(*tracks), 30.0, max_frames)
    wanted = [int(row) for part in parts for row in part.rows[part.wanted]]
    assert len(wanted) == len(set(wanted))
    for part in parts:
        assert len(part.rows) <= max_frames
        assert (np.diff(part.times) > 0).all()
        assert len({tracks[row][0] for row in part.rows}) == 1  # pyrefly: ignore
    refused = {int(r.key[1:]) for r in rejections if r.key}
    counts = {track: tracks.count(track) for track in tracks if track}
    assert refused == {i for i, track in enumerate(tracks) if track and counts[track] > 1}


def test_frames_of_another_gender_are_another_track() -> None:
    """The two have another body; who says nothing has the male one."""
    filmed = people(*(("a", i) for i in range(6)))
    genders: list[Gender | None] = ["male", "female", None]
    told = [replace(who, gender=gender) for who, gender in zip(filmed, genders * 2, strict=True)]
    parts, rejections = find_tracks(told, 30.0, 100)
    assert rows(parts) == [[0, 2, 3, 5], [1, 4]]
    assert not rejections
    assert rows(list(tracks_within(parts, np.array([1, 4, 5])))) == [[0, 1]]
