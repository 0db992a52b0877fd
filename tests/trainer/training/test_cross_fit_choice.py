"""Which networks a round and a training take from the record when people are cross-fitted."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from pipeline.labels import LabelStore
from pipeline.rounds.driver import resolved_plan
from pipeline.rounds.round_config import PredictConfig, RoundConfig
from pipeline.runtime.config import BodyConfig, ConfigError, load_config
from pipeline.shards import write_shard
from tests.pipeline.labels.label_tables import publish_rounds
from tests.pipeline.shards.samples import sample
from tests.trainer.networks import INFO, SMALL
from tests.trainer.training.jobs import small_config
from trainer.checkpoint import save_checkpoint
from trainer.inference.cross_fit import CrossFitSource
from trainer.inference.predictor import CheckpointSource
from trainer.network.networks import NETWORKS
from trainer.network.variants import NetworkHead
from trainer.training.checkpoint_choice import MissingFoldError, predictor_of_round
from trainer.training.driver import _initial_checkpoint
from trainer.training.record import TrainingRecord, read_record, write_record
from trainer.training.summary import summary_table
from trainer.training.train_config import TrainConfig, config_digest, each_fold

AUTO = PredictConfig()
TWO = PredictConfig(cross_fit=2)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    """Generations 0 and 1."""
    store = LabelStore(str(tmp_path / "labels"))
    publish_rounds(store, 2)
    return store


def record(
    store: LabelStore,
    round: int,
    name: str,
    *,
    fold: int = 0,
    folds: int = 1,
    error: float = 9,
    head: NetworkHead = "skel",
) -> str:
    """A finished training of its own weights; returns the digest of its checkpoint."""
    torch.manual_seed(hash((round, name)) % 2**32)
    file = f"training/round={round:05d}/run={name}/step-0000001.safetensors"
    digest = save_checkpoint(store.storage, file, NETWORKS[head](SMALL), INFO)
    found = TrainingRecord(
        round=round,
        training_id=name,
        snapshot_id=store.generation(round).snapshot_id,
        status="finished",
        variant="tiny",
        config="",
        config_digest="",
        body_digest="",
        code_revision="test",
        init_uri=None,
        init_digest=None,
        started="2026-01-01T00:00:00+00:00",
        best_checkpoint=file,
        best_digest=digest,
        best={"step": 1, "mpjpe_mm": error, "people": 3},
        history=({"step": 1, "mpjpe_mm": error},),
        fold=fold,
        folds=folds,
        head=head,
    )
    write_record(store.storage, found)
    assert read_record(store.storage, round, name) == found
    return digest


def test_the_best_network_of_each_fold(store: LabelStore) -> None:
    record(store, 1, "whole", error=1)
    record(store, 1, "third", fold=1, folds=3, error=1)
    record(store, 1, "worse", fold=0, folds=2, error=9)
    digests = [record(store, 1, f"fold{i}", fold=i, folds=2, error=5) for i in range(2)]
    source = predictor_of_round(TWO, store, 2)
    assert isinstance(source, CrossFitSource)
    assert [network.digest for network in source.networks] == digests
    assert all(Path(network.uri).exists() for network in source.networks)


def test_without_cross_fitting_only_networks_of_everybody_count(store: LabelStore) -> None:
    record(store, 1, "fold0", fold=0, folds=2, error=1)
    assert predictor_of_round(AUTO, store, 2) is None
    digest = record(store, 1, "whole", error=5)
    source = predictor_of_round(AUTO, store, 2)
    assert isinstance(source, CheckpointSource)
    assert source.digest == digest


def test_a_missing_fold_is_named_and_how_to_train_it(store: LabelStore) -> None:
    with pytest.raises(MissingFoldError, match="without fold 0, 1"):
        predictor_of_round(TWO, store, 2)
    record(store, 1, "fold0", fold=0, folds=2)
    record(store, 1, "whole")
    command = f"jobs/train_round.py --round 1 data.folds=2 data.fold=1 storage.root={store.storage.root}"
    with pytest.raises(MissingFoldError, match=f"without fold 1.*{command}"):
        predictor_of_round(TWO, store, 2)
    assert predictor_of_round(TWO, store, 0) is None


@pytest.mark.parametrize(("override", "message"), [("cross_fit=0", "1 .one network"), ("checkpoint=none", "on record")])
def test_settings_that_contradict_each_other(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(RoundConfig, ["predict.cross_fit=2", f"predict.{override}"])


def test_the_run_id_changes_with_any_of_the_networks(store: LabelStore, tmp_path: Path) -> None:
    shards = str(tmp_path / "photos" / "000000.tar")
    write_shard(shards, [sample()])
    config = load_config(RoundConfig, [f"data.shards={shards}", "fit.device=cpu"])
    digests = ["1" * 64, "2" * 64]
    pairs = product(digests, digests)
    sources = [CrossFitSource((CheckpointSource("a", a), CheckpointSource("b", b))) for a, b in pairs]
    run_ids = {resolved_plan(2, config, store, None, source).run_id for source in sources}
    assert len(run_ids) == 4
    assert resolved_plan(2, config, store, None, CheckpointSource("a", "1" * 64)).run_id not in run_ids


def test_hmr2_is_chosen_where_there_is_no_hsmr_or_where_it_is_asked_for(store: LabelStore) -> None:
    """Their errors are to other labels: they are not compared."""
    smpl = record(store, 1, "smpl", error=1, head="smpl")
    body = BodyConfig(gender="female")
    source = predictor_of_round(AUTO, store, 2, body)
    assert isinstance(source, CheckpointSource)
    assert (source.digest, source.body) == (smpl, body)
    skel = record(store, 1, "skel", error=9)
    asked: list[list[NetworkHead]] = [["skel", "smpl"], ["smpl"], ["skel"]]
    found = [predictor_of_round(AUTO, store, 2, body, heads) for heads in asked]
    assert [source and source.digest for source in found] == [skel, smpl, skel]
    record(store, 0, "parent", head="smpl")
    configs = small_config("network.head=smpl"), small_config()
    inits = [_initial_checkpoint(config, store, store.generation(1)) for config in configs]
    assert [init is not None for init in inits] == [True, False]


def test_a_training_starts_from_the_same_fold_of_the_generation_before(store: LabelStore) -> None:
    """Any other network knows the people whom this one must not know."""
    digests = {(i, 2): record(store, 0, f"fold{i}", fold=i, folds=2) for i in range(2)}
    digests[0, 1] = record(store, 0, "whole", error=1)
    parent = store.generation(1)
    for (fold, folds), digest in digests.items():
        init = _initial_checkpoint(small_config(f"data.folds={folds}", f"data.fold={fold}"), store, parent)
        assert init is not None
        assert init.digest == digest
    assert _initial_checkpoint(small_config("data.folds=3"), store, parent) is None


def test_each_fold_is_a_training_of_its_own() -> None:
    config = small_config()
    folds = each_fold(config, 2)
    assert [(each.data.fold, each.data.folds) for each in folds] == [(0, 2), (1, 2)]
    assert all(replace(each, data=config.data) == config for each in folds)
    assert len({config_digest(each) for each in (config, *folds, *each_fold(config, 3))}) == 6
    assert each_fold(config, 1) == [config]
    assert each_fold(folds[1], 1) == [folds[1]]
    with pytest.raises(ConfigError, match="leave it out"):
        each_fold(folds[1], 2)


def test_without_folds_trainings_are_called_what_they_always_were() -> None:
    """Else a training that was begun, or finished, before there were folds would not find itself."""
    before = "b5e0017e0adfcb16498d1d7c952cca08efae1266443101f4f66bccf1aa186256"
    assert config_digest(TrainConfig()) == before


def test_records_of_before_are_of_everybody_and_tables_name_the_fold(store: LabelStore) -> None:
    record(store, 1, "whole")
    name = "training/round=00001/whole.json"
    text = store.storage.read(name).decode().replace(',\n "fold": 0,\n "folds": 1', "")
    assert "fold" not in text
    store.storage.write(name, text.encode())
    whole = read_record(store.storage, 1, "whole")
    assert whole is not None
    assert (whole.fold, whole.folds) == (0, 1)
    assert "fold" not in str(summary_table(whole).title)
    assert "round 1 without fold 1 of 2" in str(summary_table(replace(whole, fold=1, folds=2)).title)
