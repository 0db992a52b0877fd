"""The lock of a round: refused while its holder lives, taken over when it is dead, whatever the clocks say."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.labels import RoundBusyError, Storage
from pipeline.labels.files.layout import lock_file
from pipeline.labels.files.round_lock import RoundLock
from pipeline.storage.opening import open_storage
from tests.repository import ROOT

_HOLD = """
import sys, time
from pipeline.storage.opening import open_storage
from pipeline.labels.files.round_lock import RoundLock
with RoundLock(open_storage(sys.argv[1]), 3, "a driver"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def rewrite(storage: Storage, **changes: object) -> None:
    holder = json.loads(storage.read(lock_file(3)))
    storage.write(lock_file(3), json.dumps(holder | changes).encode())


def test_a_living_holder_is_named_and_its_lock_stays(storage: Storage) -> None:
    named = r"Round 3 is being worked on by a driver of run abc \(process \d+ on"
    mine, other = RoundLock(storage, 3, "a driver of run abc"), RoundLock(storage, 4, "another round")
    with mine, other, pytest.raises(RoundBusyError, match=named):
        RoundLock(storage, 3, "me").__enter__()
    assert storage.names("data/round=00003") == []


def test_the_lock_of_a_killed_process_is_taken_over_at_once(storage: Storage) -> None:
    command = [sys.executable, "-c", _HOLD, storage.root]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RoundBusyError):
            RoundLock(storage, 3, "me").__enter__()
        process.kill()
    started = time.monotonic()
    with RoundLock(storage, 3, "me"):
        assert time.monotonic() - started < 20, "no waiting for the lapse"


def test_on_another_machine_silence_means_death_and_a_beat_means_life(storage: Storage) -> None:
    with RoundLock(storage, 3, "far away") as far:
        rewrite(storage, machine="elsewhere boot space")

        def beat() -> None:
            time.sleep(0.3)
            rewrite(storage, beats=1)

        beating = threading.Thread(target=beat)
        beating.start()
        with pytest.raises(RoundBusyError, match="far away"):
            RoundLock(storage, 3, "me", lapse_s=20).__enter__()
        beating.join()
        taken = pytest.raises(RoundBusyError, match="has taken over round 3")
        with RoundLock(storage, 3, "me", lapse_s=0.5), taken:
            far.check()
    assert storage.names("data/round=00003") == []


def test_what_is_no_lock_is_no_obstacle(storage: Storage) -> None:
    storage.write(lock_file(3), b"{")
    with RoundLock(storage, 3, "me", lapse_s=0.2) as lock:
        lock.check()
