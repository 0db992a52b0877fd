"""What a restart trusts: a finished shard is reused only if its size, checksum and settings prove it, else computed.

The rest of the guarantee is tested where the deaths are: driver, actor, between staging and commit and within the
commit in test_kills.py, nodes in test_nodes.py, S3 in test_s3_faults.py.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.labels import Storage
from tests.faults.conftest import Uninterrupted
from tests.faults.driver import Halt
from tests.faults.invariants import check_equal, check_store
from tests.faults.small_round import PATIENCE, SmallRound
from tests.faults.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def cut_short(storage: Storage, sidecar: str) -> None:
    storage.write(labels_of(sidecar), storage.read(labels_of(sidecar))[:-100])


def one_bit_flipped(storage: Storage, sidecar: str) -> None:
    data = bytearray(storage.read(labels_of(sidecar)))
    data[len(data) // 2] ^= 1
    storage.write(labels_of(sidecar), bytes(data))


def labels_missing(storage: Storage, sidecar: str) -> None:
    storage.delete(labels_of(sidecar))


def sidecar_missing(storage: Storage, sidecar: str) -> None:
    storage.delete(sidecar)


def of_other_settings(storage: Storage, sidecar: str) -> None:
    """Its own checksum is right: only the digest of the settings tells."""
    facts: dict[str, Any] = json.loads(storage.read(sidecar))
    storage.write(sidecar, json.dumps(facts | {"config_digest": "0" * 64}).encode())


DAMAGE: tuple[Callable[[Storage, str], None], ...] = (
    cut_short,
    one_bit_flipped,
    labels_missing,
    sidecar_missing,
    of_other_settings,
)


def labels_of(sidecar: str) -> str:
    return sidecar.removesuffix(".json") + ".parquet"


def damage_and_resume(small: SmallRound, uninterrupted: Uninterrupted) -> int:
    """Kill the driver when all is staged, damage each shard but one in another way, start again; rows checked."""
    killed = small.driver(0, Halt(audit=True))
    assert killed.wait(PATIENCE) == -9, killed.said
    sidecars = small.staged(0)
    assert len(sidecars) == small.tars
    for inflict, sidecar in zip(DAMAGE, sidecars, strict=False):
        inflict(small.store.storage, sidecar)
    sound = small.tars - len(DAMAGE)
    again = small.run(0)
    assert f"{len(DAMAGE)} shards computed, {sound} reused" in again.said, again.said
    assert again.said.count("The shard is computed again") == len(DAMAGE) - 2, "what is merely missing is no surprise"
    seen = check_store(small.store)
    check_equal(small.store, uninterrupted.small.store, 0)
    return 2 * seen[0].rows


def test_damaged_shards_are_computed_again_and_sound_ones_are_not(
    uninterrupted: Uninterrupted, tally: Tally, tmp_path: Path
) -> None:
    with tally.run("staged shards damaged") as count:
        small = replace(uninterrupted.small, folder=tmp_path, root=str(tmp_path / "labels"))
        count.rows = damage_and_resume(small, uninterrupted)
        count.injected = len(DAMAGE)


def test_other_settings_reuse_nothing(uninterrupted: Uninterrupted, tally: Tally, tmp_path: Path) -> None:
    """All is staged, then somebody changes a setting that can change labels: another run, from the start."""
    with tally.run("settings changed after staging") as count:
        small = replace(uninterrupted.small, folder=tmp_path, root=str(tmp_path / "labels"))
        assert small.driver(0, Halt(audit=True)).wait(PATIENCE) == -9
        count.injected = 1
        again = small.run(0, extra=("fit.batch_size=2",))
        assert f"{small.tars} shards computed, 0 reused" in again.said
        count.rows = check_store(small.store)[0].rows
