"""The shapes of what compiled code makes for itself: handed out to Python, it passes the checks of its fields."""

import numpy as np
import pytest

from pipeline.fit.solver.compiled_terms import new_workspace
from pipeline.fit.solver.targets import N_UNKNOWNS, People, one_person


@pytest.mark.parametrize("axes", [2, 3])
def test_the_workspace_is_as_its_fields_say(axes: int) -> None:
    assert new_workspace(7, axes, np.dtype(np.float64)).rows.shape == (7 * axes, N_UNKNOWNS)


def test_one_person_is_a_row_of_people() -> None:
    rng = np.random.default_rng(0)
    shapes = (44, 2), (44,), (), (), (44, 3), (44, 3), (2, N_UNKNOWNS), (2, N_UNKNOWNS), (2,)
    people = People(*(rng.random((3, *shape)) for shape in shapes))
    person = one_person(people, 1, np.eye(3))
    for name in People._fields:
        np.testing.assert_array_equal(getattr(person, name), getattr(people, name)[1])
