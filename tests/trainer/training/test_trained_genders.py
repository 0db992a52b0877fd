"""Training with body.gender=auto: the loss of a mixed batch is that of its men and its women, each by their body."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.body.gendered_skel import load_skels
from pipeline.runtime.config import BodyConfig
from schemas.gender import Gender
from tests.trainer.data.test_smpl_labels import joined
from tests.trainer.training.test_losses import batch_of, output
from trainer.data import TrainBatch
from trainer.data.collate import collate
from trainer.data.shard_walk import JoinedPerson
from trainer.data.weights import LabelWeightConfig
from trainer.network.hsmr import HsmrOutput
from trainer.training.losses import LossConfig, training_loss
from trainer.training.trained_body import TrainedSkel, TrainedSkels, body_digest, load_trained_body

FEMALE = torch.tensor([True, False, False, True, False])
WEIGHTS = LossConfig()


@pytest.fixture(scope="module")
def bodies(two_bodies: Path) -> TrainedSkels:
    found = load_trained_body("skel", BodyConfig(source=str(two_bodies), gender="auto"), torch.device("cpu"))
    assert isinstance(found, TrainedSkels)
    return found


def made() -> tuple[HsmrOutput, TrainBatch]:
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> torch.Tensor:
        return 0.2 * torch.randn(len(FEMALE), *size, generator=generator)

    q, betas, cam = noise(46).requires_grad_(), noise(10).requires_grad_(), torch.tensor([[0.9, 0.0, 0.0]])
    predicted = output(q, betas, cam.expand(len(FEMALE), 3))
    batch = batch_of(noise(46), noise(10), noise(44, 3).abs(), noise(44, 4).abs())
    return predicted, replace(batch, female=FEMALE)


def of_rows(predicted: HsmrOutput, batch: TrainBatch, rows: torch.Tensor) -> tuple[HsmrOutput, TrainBatch]:
    numbers = rows.nonzero().squeeze(1).tolist()
    tensors = {name: getattr(batch, name)[rows] for name in batch.__dataclass_fields__ if name != "ids"}
    part = replace(batch, ids=tuple(batch.ids[i] for i in numbers), **tensors)
    return HsmrOutput(*(value[rows] for value in predicted)), part


def test_the_loss_of_a_mixed_batch_is_that_of_its_halves(bodies: TrainedSkels, two_bodies: Path) -> None:
    skels = load_skels(two_bodies, "auto")
    predicted, batch = made()
    mixed = training_loss(bodies, [predicted], batch, WEIGHTS)
    women, men = of_rows(predicted, batch, FEMALE), of_rows(predicted, batch, ~FEMALE)
    halves = [
        training_loss(TrainedSkel(skels[gender]), [part[0]], part[1], WEIGHTS) * len(part[1]) / len(batch)
        for gender, part in (("female", women), ("male", men))
    ]
    torch.testing.assert_close(mixed, sum(halves), rtol=1e-5, atol=1e-6)
    only_men = training_loss(TrainedSkel(skels["male"]), [predicted], batch, WEIGHTS)
    assert (mixed - only_men).abs() > 1e-3, "the bodies differ"
    (gradient,) = torch.autograd.grad(mixed, predicted.q)
    assert torch.isfinite(gradient).all()


def test_joints_and_skin_are_each_persons_own(bodies: TrainedSkels, two_bodies: Path) -> None:
    skels = load_skels(two_bodies, "auto")
    predicted, batch = made()
    own = bodies.of(batch)
    for row, female in enumerate(FEMALE.tolist()):
        skel = TrainedSkel(skels["female" if female else "male"])
        for name in ("joints", "skin", "keypoints"):
            torch.testing.assert_close(getattr(own, name)(predicted)[row], getattr(skel, name)(predicted)[row])
        torch.testing.assert_close(own.label_joints(batch)[row], skel.label_joints(batch)[row])


def test_the_digest_says_which_bodies(two_bodies: Path) -> None:
    choices = ("male", "female", "auto")
    digests = {body_digest("skel", BodyConfig(source=str(two_bodies), gender=choice)) for choice in choices}
    assert len(digests) == 3
    smpl = {body_digest("smpl", BodyConfig(source=str(two_bodies), gender=choice)) for choice in choices}
    assert len(smpl) == 1, "HMR2.0 knows no gender"


def person(*, label: Gender | None, shard: Gender | None) -> JoinedPerson:
    known = joined(None)
    assert known.sample is not None
    sample = replace(known.sample, person=replace(known.sample.person, gender=shard))
    return replace(known, label=replace(known.label, gender=label, has_label=label is not None), sample=sample)


def test_a_batch_knows_the_body_of_each_label() -> None:
    people = [
        person(label="female", shard="male"),
        person(label="male", shard="female"),
        person(label=None, shard="female"),
        person(label=None, shard=None),
        replace(person(label=None, shard="female"), sample=None),
    ]
    batch = collate(people, LabelWeightConfig())
    assert isinstance(batch, TrainBatch)
    assert batch.female.tolist() == [True, False, True, False, False]
    assert [part.female.tolist() for part in batch.parts(2)] == [[True, False], [True, False, False]]
