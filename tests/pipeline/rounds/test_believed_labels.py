"""A round converts the pseudo-labels that are believed: the others are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.body import load_skel, load_smpl
from pipeline.fit import Skelify, SmplToSkel
from pipeline.labelling.genders import BodyFits
from pipeline.lenses.known_lens import KnownLenses
from pipeline.rounds.round_config import RoundConfig
from pipeline.rounds.shard_task import Models, ShardTask, process_shard
from pipeline.runtime.config import load_config
from pipeline.shards import list_shards, write_shard
from schemas.gender import DEFAULT_GENDER
from schemas.labels import LABEL_SCHEMA
from tests.pipeline.rounds.made_shards import make_samples


def test_labels_that_are_not_believed_are_not_converted(tmp_path: Path) -> None:
    samples = make_samples(3)
    fit = {"fitting_loss": np.array({"reprojection_loss": 31_001.0}, dtype=object)}
    changes = ({}, {"betas": np.full(10, 3.5, np.float32)}, {"extra_info": fit})
    made = [
        replace(sample, people=[sample.people[0] | change]) for sample, change in zip(samples, changes, strict=True)
    ]
    path = tmp_path / "made" / "000000.tar"
    write_shard(str(path), made)
    (source,) = list_shards(str(path))
    skel, smpl = load_skel(dtype=torch.float64), load_smpl(dtype=torch.float64)
    fits = BodyFits(smpl=smpl, skelify=Skelify(skel), converter=SmplToSkel(smpl, skel))
    models = Models(fits={DEFAULT_GENDER: fits}, lenses=KnownLenses())
    task = ShardTask(dataset="made", shard="000000", source=source)
    published = ["data.pseudo_labels.max_fitting_loss=31000", "data.pseudo_labels.max_betas=3"]
    for overrides, expected in (([], [True, True, True]), (published, [True, False, False])):
        config = load_config(RoundConfig, overrides)
        table = process_shard(task, 0, LABEL_SCHEMA.empty_table(), models, config).table
        assert table["has_label"].to_pylist() == expected
        assert set(table.filter(np.logical_not(expected))["decision"].to_pylist()) <= {"no_label"}
