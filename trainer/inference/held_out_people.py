"""People whom no network is trained on, and what a network says of them: how demo and benchmarks judge networks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from pipeline.image.camera import FOCAL
from pipeline.image.person_view import PersonView, person_view
from pipeline.labelling.predictor import Guess, Predictor
from pipeline.lenses.known_lens import KnownLenses
from pipeline.shards import list_shards, read_shard
from schemas.labels import IDENTITY_COLUMNS
from schemas.person import Person, Photo
from trainer.data.split import groups_of, is_held_out

_PHOTOS_AT_ONCE = 64


class Predicted(NamedTuple):
    """A person, what a network says of them, and how they are seen by the camera that this holds for."""

    person: Person
    guess: Guess
    view: PersonView


def held_out_photos(shards: str, share: float) -> list[Photo]:
    """The photos of these shards that a training with this data.held_out_share leaves out, with the lenses that rounds
    know.
    """
    items = [item for shard in list_shards(shards) for item in read_shard(shard)]
    photos = [item for item in items if isinstance(item, Photo) and item.people]
    chosen = is_held_out(groups_of(photos), share)
    return list(KnownLenses().of([photo for photo, held in zip(photos, chosen, strict=True) if held]))


def predict_people(predictor: Predictor, photos: Sequence[Photo]) -> list[Predicted]:
    """The people of the photos of whom the network says something, in order."""
    found: list[Predicted] = []
    for start in range(0, len(photos), _PHOTOS_AT_ONCE):
        some = photos[start : start + _PHOTOS_AT_ONCE]
        people = [person for photo in some for person in photo.people]
        pairs = zip(people, predictor.predict(some), strict=True)
        found += [Predicted(person, guess, _seen(person, guess)) for person, guess in pairs if guess is not None]
    return found


def as_labels(found: Sequence[Predicted]) -> pa.Table:
    """What the network says, as the columns of a label table that errors to a truth need."""
    columns = {name: [getattr(one.person.id, name) for one in found] for name in IDENTITY_COLUMNS}
    columns |= {name: [list(getattr(one.guess, name)) for one in found] for name in ("q", "betas", "cam_t")}
    columns |= {
        "has_label": [True] * len(found),
        "focal": [one.guess.focal for one in found],
        "camera_turn": [list(one.view.turn) for one in found],
    }
    return pa.table(columns)


def _seen(person: Person, guess: Guess) -> PersonView:
    """By the network's camera; HSMR's looks straight at the crop."""
    return person_view(replace(person, lens=None) if guess.focal == FOCAL else person)
