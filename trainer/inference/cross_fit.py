"""Cross-fitting: each photo is predicted by the network that was not trained on what it shows.

A network that has memorised its training labels repeats them, which proves nothing. V. Chernozhukov et al., "Double/
debiased machine learning for treatment and structural parameters", The Econometrics Journal 21 (2018): K networks, each
trained without its own fold, predict that fold.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.labelling.predictor import Guess, Predictor
from schemas.person import Photo
from trainer.data.split import fold_of, groups_of
from trainer.inference.predictor import CheckpointSource


class CrossFitPredictor:
    """`pipeline.labelling.predictor.Predictor` by the network of each photo's fold."""

    def __init__(self, networks: Sequence[Predictor]) -> None:
        """networks: that of fold i, trained without it, at place i."""
        self._networks = networks

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        """One guess per person, in order. Raises ValueError for a photo whose group is not known."""
        with_people = [photo for photo in photos if photo.people]
        fold = fold_of(groups_of(with_people), len(self._networks))
        of_photo: dict[int, list[Guess]] = {}
        for number, network in enumerate(self._networks):
            places = np.flatnonzero(fold == number).tolist()
            guesses = iter(network.predict([with_people[place] for place in places]) if places else ())
            of_photo |= {place: [next(guesses) for _ in with_people[place].people] for place in places}
        return [guess for place in range(len(with_people)) for guess in of_photo[place]]


@dataclass(frozen=True, slots=True)
class CrossFitSource:
    """`pipeline.labelling.predictor.PredictorSource` of the networks of all folds, in the order of the folds."""

    networks: tuple[CheckpointSource, ...]

    @property
    def uri(self) -> str:
        """Those of all networks, with a space between."""
        return " ".join(network.uri for network in self.networks)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all their digests."""
        return hashlib.sha256(" ".join(network.digest for network in self.networks).encode()).hexdigest()

    def load(self, device: str) -> CrossFitPredictor:
        """No network predicts whom it was trained on. Raises CheckpointError as `CheckpointSource.load`."""
        return CrossFitPredictor([network.load(device, unseen=True) for network in self.networks])
