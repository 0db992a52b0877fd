"""Each photo is predicted by the network of its fold; the source stands for all of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.labelling.predictor import Guess
from pipeline.shards import RawSample, write_shard
from pipeline.storage.opening import open_storage
from schemas.person import Photo
from tests.pipeline.shards.samples import person, photo_bytes, read
from tests.trainer.networks import INFO, SMALL
from trainer.checkpoint import CheckpointError, CheckpointInfo, save_checkpoint
from trainer.data.split import fold_of, groups_of
from trainer.inference.cross_fit import CrossFitPredictor, CrossFitSource
from trainer.inference.predictor import CheckpointSource
from trainer.network.hsmr import Hsmr


class Recording:
    """A network that remembers what it was asked, and answers with its number and the person's crop side."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[str] = []

    def predict(self, photos: Sequence[Photo]) -> list[Guess]:
        self.asked += [photo.key for photo in photos]
        return [self._guess(who.side) for photo in photos for who in photo.people]

    def _guess(self, side: float) -> Guess:
        q, betas = np.full(46, side, np.float32), np.full(10, self.number, np.float32)
        return Guess(q, betas, np.ones(3, np.float32), np.ones(46, np.float32), np.ones(10, np.float32))


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Photo i shows i % 3 people, each with a box of its own."""

    def people(photo: int) -> list[dict[str, object]]:
        return [person(scale=np.full(2, 0.3 + 0.01 * (3 * photo + p))) for p in range(photo % 3)]

    content = [RawSample(key=f"{i:02d}", jpeg=photo_bytes(i), people=people(i)) for i in range(24)]
    write_shard(str(tmp_path / "made" / "000000.tar"), content)
    return read(tmp_path / "made" / "000000.tar")[0]


def test_photos_go_to_the_network_of_their_fold_and_come_back_in_order(photos: list[Photo]) -> None:
    networks = [Recording(number) for number in range(3)]
    guesses = CrossFitPredictor(networks).predict(photos)
    with_people = [photo for photo in photos if photo.people]
    fold = dict(zip([photo.key for photo in with_people], fold_of(groups_of(with_people), 3).tolist(), strict=True))
    assert set(fold.values()) == {0, 1, 2}
    for network in networks:
        assert network.asked == [key for key in fold if fold[key] == network.number]
    people = [(photo.key, who.side) for photo in photos for who in photo.people]
    assert len(guesses) == len(people) == 24
    for guess, (key, side) in zip(guesses, people, strict=True):
        assert guess.q[0] == np.float32(side)
        assert guess.betas[0] == fold[key]


def test_the_answer_does_not_depend_on_what_else_is_asked(photos: list[Photo]) -> None:
    predictor = CrossFitPredictor([Recording(0), Recording(1)])
    together = predictor.predict(photos)
    alone = [guess for photo in photos for guess in predictor.predict([photo])]
    assert [guess.betas[0] for guess in together] == [guess.betas[0] for guess in alone]
    assert {guess.betas[0] for guess in alone} == {0, 1}
    assert predictor.predict([]) == []


def test_a_photo_without_a_group_is_refused(photos: list[Photo]) -> None:
    (who,) = photos[1].people
    stranger = replace(photos[1], people=(replace(who, photo_group=None),))
    with pytest.raises(ValueError, match="photo_group"):
        CrossFitPredictor([Recording(0), Recording(1)]).predict([stranger])


@pytest.fixture
def source(tmp_path: Path) -> CrossFitSource:
    networks = []
    for number in range(2):
        torch.manual_seed(number)
        address = str(tmp_path / f"{number}.safetensors")
        networks.append(CheckpointSource(address, save(address, Hsmr(SMALL))))
    return CrossFitSource(tuple(networks))


def save(address: str, network: Hsmr, info: CheckpointInfo = INFO) -> str:
    """Returns the digest."""
    return save_checkpoint(open_storage(str(Path(address).parent)), Path(address).name, network, info)


def test_the_source_loads_all_of_them_in_order(source: CrossFitSource, photos: list[Photo]) -> None:
    found = source.load("cpu").predict(photos)
    assert len(found) == 24
    by_network = [network.load("cpu").predict(photos) for network in source.networks]
    fold = [f for photo in photos if photo.people for f in fold_of(groups_of([photo]), 2).repeat(len(photo.people))]
    for place, (guess, number) in enumerate(zip(found, fold, strict=True)):
        np.testing.assert_allclose(guess.q, by_network[number][place].q, atol=1e-5)
        assert np.abs(guess.q - by_network[1 - number][place].q).max() > 1e-4


def test_its_networks_are_taken_at_their_word(tmp_path: Path, photos: list[Photo]) -> None:
    """One alone counts for what it tells beyond the average person: it may have been trained on these people."""
    torch.manual_seed(0)
    address = str(tmp_path / "known.safetensors")
    info = replace(INFO, q_std=(0.3,) * 46, betas_std=(1.1,) * 10, population_std=(0.5,) * 46 + (1.2,) * 10)
    network = CheckpointSource(address, save(address, Hsmr(SMALL), info))
    alone = network.load("cpu").predict(photos[1:2])[0]
    fitted = CrossFitSource((network, network)).load("cpu").predict(photos[1:2])[0]
    np.testing.assert_allclose(fitted.q_std, 0.3, rtol=1e-3)
    np.testing.assert_allclose(fitted.betas_std, 1.1, rtol=1e-2)
    np.testing.assert_allclose(alone.q_std, (0.3**-2 - 0.5**-2) ** -0.5, rtol=1e-3)


def test_uri_and_digest_are_of_all_networks_in_their_order(source: CrossFitSource) -> None:
    first, second = source.networks
    assert source.uri == f"{first.uri} {second.uri}"
    others = [
        CrossFitSource((second, first)),
        CrossFitSource((first, first)),
        CrossFitSource((replace(first, digest="0" * 64), second)),
        CrossFitSource((first, replace(second, digest="0" * 64))),
    ]
    digests = {source.digest, *(other.digest for other in others)}
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_a_network_that_was_replaced_since_is_refused(source: CrossFitSource) -> None:
    torch.manual_seed(9)
    save(source.networks[1].uri, Hsmr(SMALL))
    with pytest.raises(CheckpointError, match="was replaced"):
        source.load("cpu")
