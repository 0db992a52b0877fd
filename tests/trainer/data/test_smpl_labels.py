"""SMPL pseudo-labels as targets: turned and mirrored as their crops are, counted only where they are believed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.body import load_smpl
from pipeline.body.rotations import axis_angle_to_matrix
from pipeline.body.smpl_pose import MIRRORED_JOINTS, mirror_smpl, turn_root
from pipeline.image.person_camera import PersonCamera
from pipeline.shards import RawSample, list_shards, write_shard
from pipeline.shards.pseudo_labels import PseudoLabelConfig
from schemas.labels import Decision
from schemas.person import Person, PersonId, SmplLabel
from tests.pipeline.shards.samples import person, photo_bytes
from tests.trainer.data.made_generation import label_table, make_generation, write_labels
from trainer.data import CropBatch, JoinCounts, SmplBatch, TrainDataConfig, open_epoch
from trainer.data.augmentation import PLAIN, Augmentation, augmented_crop
from trainer.data.collate import collate, keypoints_3d_in_crop
from trainer.data.join import LabelRow
from trainer.data.label_index import index_labels
from trainer.data.sample import Sample
from trainer.data.shard_walk import JoinedPerson
from trainer.data.weights import LabelWeightConfig

ID = PersonId("set", "000000", "a", 0)
TURN = PersonCamera.of_label(19.5, np.array([0.1, -0.3, 0.05], np.float32))


def smpl(betas: float = 0.0, **known: object) -> SmplLabel:
    pose = np.random.default_rng(0).normal(0, 0.3, (24, 3)).astype(np.float32)
    return SmplLabel(pose=pose, betas=np.full(10, betas, np.float32), **known)  # type: ignore[arg-type]


def joined(label: SmplLabel | None, augmentation: Augmentation = PLAIN, *, calibrated: bool = False) -> JoinedPerson:
    keypoints, center = np.zeros((44, 3), np.float32), np.array([48, 32], np.float32)
    person = Person(
        id=ID, keypoints_2d=keypoints, keypoints_3d=np.zeros((44, 4), np.float32), center=center, side=60.0, smpl=label
    )
    transform = augmented_crop(augmentation, keypoints, center, 60.0)
    sample = Sample(
        person=person, augmentation=augmentation, transform=transform, patch=np.zeros((3, 256, 256), np.uint8)
    )
    nothing = np.zeros(46, np.float32)
    row = LabelRow(
        has_label=False,
        q=nothing,
        betas=np.zeros(10, np.float32),
        q_std=nothing,
        poor_fit=False,
        camera=TURN,
        calibrated=calibrated,
    )
    return JoinedPerson(row=0, id=ID, label=row, sample=sample)


def targets(*people: JoinedPerson) -> SmplBatch:
    batch = collate(people, LabelWeightConfig(), head="smpl")
    assert isinstance(batch, SmplBatch)
    return batch


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 25.0, -40.0])
def test_labels_go_with_their_crops(flip: bool, rotation: float) -> None:
    """The augmented label has the augmented keypoints; a mirrored body differs by what its sides do."""
    body, label = load_smpl(), smpl(0.5)
    augmentation = replace(PLAIN, flip=flip, rotation_deg=rotation)

    def keypoints(rotations: torch.Tensor) -> np.ndarray:
        return body.keypoints(rotations, torch.from_numpy(label.betas)[None])[0].numpy()

    plain = keypoints(axis_angle_to_matrix(torch.from_numpy(label.pose))[None])
    points = np.column_stack([plain - plain[39], np.ones(44)]).astype(np.float32)
    expected = keypoints_3d_in_crop(points, augmentation)[:, :3]
    found = keypoints(targets(joined(label, augmentation)).rotations)
    np.testing.assert_allclose(found - found[39], expected, atol=8e-3 if flip else 1e-5)


def test_mirrored_twice_is_as_before() -> None:
    rotations = axis_angle_to_matrix(torch.randn(3, 24, 3))
    torch.testing.assert_close(mirror_smpl(mirror_smpl(rotations)), rotations)
    assert sorted(MIRRORED_JOINTS) == list(range(24))
    turn = axis_angle_to_matrix(torch.randn(3, 3))
    torch.testing.assert_close(turn_root(rotations, turn)[:, 0], turn @ rotations[:, 0])


def test_a_measured_label_is_turned_from_the_photo_s_axes() -> None:
    label = smpl()
    plain, turned = (targets(joined(label, calibrated=calibrated)).rotations[0] for calibrated in (False, True))
    torch.testing.assert_close(turned[1:], plain[1:])
    torch.testing.assert_close(torch.from_numpy(TURN.rotation).float() @ turned[0], plain[0], atol=1e-5, rtol=0)


def test_who_has_no_label_counts_for_nothing() -> None:
    batch = targets(
        joined(smpl(0.5)), joined(None), joined(smpl(has_betas=False)), replace(joined(smpl()), sample=None)
    )
    assert batch.has_label.tolist() == [True, False, True, False]
    assert batch.joint_weight.sum(1).tolist() == [24, 0, 24, 0]
    assert batch.betas_weight.tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(batch.rotations[[1, 3]], torch.eye(3).expand(2, 24, 3, 3))
    assert isinstance(collate([joined(smpl())], LabelWeightConfig()), CropBatch)


def test_streams_give_what_is_believed(tmp_path: Path) -> None:
    """Of the shard, whatever the generation says; ranks and epochs as for SKEL."""
    people = [person(i) for i in range(4)]
    people[1] |= {"has_body_pose": np.float32(0)}
    people[2] |= {"betas": np.full(10, 5, np.float32)}
    people[3] |= {"extra_info": {"fitting_loss": np.array({"reprojection_loss": 1e6}, dtype=object)}}
    tar = tmp_path / "made" / "000000.tar"
    write_shard(str(tar), [RawSample(key="a", jpeg=photo_bytes(), people=people)])
    ids = [PersonId("made", "000000", "a", i) for i in range(4)]
    file = write_labels(tmp_path, "made", "000000", label_table(ids, decisions=[Decision.NO_LABEL] * 4))
    index = index_labels(dict([file]), list_shards(str(tar)), 0.0)
    published = PseudoLabelConfig(max_fitting_loss=31_000, max_betas=3)
    found: dict[bool, dict[int, bool]] = {}
    for asked, rules in ((False, PseudoLabelConfig()), (True, published)):
        stream = open_epoch(TrainDataConfig(global_batch=4, lanes=2, pseudo_labels=rules), index, 0, head="smpl")
        (batch,) = stream
        assert isinstance(batch, SmplBatch)
        assert stream.counts == JoinCounts(used=4)
        found[asked] = {id.person: bool(has) for id, has in zip(batch.ids, batch.has_label, strict=True)}
    assert found == {False: {0: True, 1: False, 2: True, 3: True}, True: {0: True, 1: False, 2: False, 3: False}}


def test_the_same_people_in_the_same_crops_as_for_skel(tmp_path: Path) -> None:
    index = make_generation(tmp_path, shards=1, photos=4)
    config = TrainDataConfig(global_batch=4, lanes=2)
    for ours, theirs in zip(open_epoch(config, index, 0, head="smpl"), open_epoch(config, index, 0), strict=True):
        assert ours.ids == theirs.ids
        assert torch.equal(ours.patches, theirs.patches)
        assert torch.equal(ours.keypoints_2d, theirs.keypoints_2d)
