"""People by the gender of their SKEL bodies: worked on by gender, put back in their order."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int64, Shaped

from pipeline.labelling.batches import Strings
from schemas.gender import GENDERS, Gender


def rows_by_gender(genders: Sequence[Gender] | Strings) -> Iterator[tuple[Gender, Int64[np.ndarray, "M"]]]:
    """Each gender that is met, and the rows of who has it, ascending."""
    given = np.array(genders, object)
    for gender in GENDERS:
        rows = np.flatnonzero(given == gender)
        if len(rows):
            yield gender, rows


def by_gender(
    genders: Sequence[Gender], found: Callable[[Gender, Int64[np.ndarray, "M"]], Shaped[np.ndarray, "M *rest"]]
) -> Shaped[np.ndarray, "N *rest"]:
    """What `found` gives of the people at some rows, all of one gender, in the order of all, who are one at least."""
    parts = [(rows, found(gender, rows)) for gender, rows in rows_by_gender(genders)]
    order = np.concatenate([rows for rows, _ in parts])
    return np.concatenate([values for _, values in parts])[np.argsort(order)]
