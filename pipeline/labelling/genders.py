"""People of both genders in one batch: each labelled by the fits on their own body, and put back in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Integer

from pipeline.body import Skel, Smpl
from pipeline.fit import Skelify, SmplToSkel
from pipeline.labelling.batches import LabelBatch, PersonBatch
from pipeline.labelling.rows_by_gender import rows_by_gender
from pipeline.labels.exchange.hsmr_fields import HsmrLabel
from pipeline.labels.files.errors import OtherBodyError
from schemas.gender import Gender, GenderChoice, chosen_gender
from schemas.person import Photo


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFits:
    """What labels people by the SKEL body of one gender; smpl, of their pseudo-labels, is neutral."""

    smpl: Smpl
    skelify: Skelify
    converter: SmplToSkel

    @property
    def skel(self) -> Skel:
        return self.skelify.model


def with_genders(photo: Photo, choice: GenderChoice) -> Photo:
    """The photo, everybody of the gender whose body they are given."""
    people = tuple(replace(person, gender=chosen_gender(choice, person.gender)) for person in photo.people)
    return replace(photo, people=people)


def labelled_by_gender(
    batch: PersonBatch,
    fits: Mapping[Gender, BodyFits],
    label: Callable[[Integer[np.ndarray, "M"], BodyFits], LabelBatch],
) -> LabelBatch:
    """Labels of the whole batch, in its order, with gender and height; `label` gives those of the people at some rows,
    all of one gender. Raises ValueError for people of a gender without fits.
    """
    if missing := sorted(set(batch.gender) - set(fits)):
        raise ValueError(f"people of gender {', '.join(missing)}, but there are fits for {', '.join(fits)} alone")
    labels = LabelBatch.of(batch.ids)
    for gender, rows in rows_by_gender(batch.gender):
        fit = fits[gender]
        found = _with_heights(label(rows, fit), fit.skel)
        stated = np.full(len(rows), None, object)
        stated[found.has_label] = gender
        labels = labels.put(rows, found.with_columns(gender=stated))
    return labels


def check_same_body(batch: PersonBatch, labels: LabelBatch) -> None:
    """Raises OtherBodyError where the label of one of these people belongs to the body of another gender: the same
    betas are another shape there.
    """
    _check(batch, [gender if has else None for gender, has in zip(labels.gender, labels.has_label, strict=True)])


def check_imported_body(batch: PersonBatch, labels: Sequence[HsmrLabel | None]) -> None:
    """The same of labels of others; one that does not state its gender is taken to be of the person's body."""
    _check(batch, [None if label is None else label.gender for label in labels])


def _check(batch: PersonBatch, stated: Sequence[Gender | None]) -> None:
    wrong = [row for row, gender in enumerate(stated) if gender not in (None, batch.gender[row])]
    if wrong:
        first = wrong[0]
        dataset, shard, key, person = batch.ids[first]
        raise OtherBodyError(
            f"{len(wrong)} of {len(batch)} people are given another body than their labels are of, as "
            f"{dataset}/{shard}/{key} #{person}: {batch.gender[first]} today, and a label of the {stated[first]} body. "
            "Labels are not moved between bodies: set body.gender (and the gender in the shards) as it was when they "
            "were made, or start from round 0 in another storage.root."
        )


def _with_heights(labels: LabelBatch, skel: Skel) -> LabelBatch:
    """The labels with the height of the body that each one's betas make."""
    with torch.no_grad():
        heights = skel.heights(torch.as_tensor(labels.betas).to(device=skel.device, dtype=skel.dtype)).cpu().numpy()
    return labels.with_columns(height_m=np.where(labels.has_label, heights, np.nan))
