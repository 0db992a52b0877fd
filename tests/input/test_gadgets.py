"""No published way to run code through a pickle works on ours: nothing is called, opened or imported."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.safe_pickle import (
    BODY_GLOBALS,
    SHARD_GLOBALS,
    ForbiddenPickleError,
    MalformedPickleError,
    load_body_pickle,
    restricted_loads,
)
from tests.input.gadgets import GADGETS, spelled
from tests.input.watch import WATCH

ALLOWED = {"shard": SHARD_GLOBALS, "body": BODY_GLOBALS}


def refused(data: bytes, allowed: Any) -> bool:
    try:
        restricted_loads(data, allowed=allowed, encoding="latin1")
    except (ForbiddenPickleError, MalformedPickleError):
        return True
    return False


def still_sound() -> bool:
    """A good pickle loads as before: nothing was rebound by the hostile ones."""
    loaded = restricted_loads(pickle.dumps([np.arange(3.0), np.float32(2)], 4))
    return bool((loaded[0] == [0, 1, 2]).all()) and loaded[1] == 2


def test_every_gadget_in_every_spelling_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert still_sound()
    passed, count = [], 0
    WATCH.start()
    for gadget in GADGETS:
        for spelling, data in spelled(*gadget).items():
            for kind, allowed in ALLOWED.items():
                count += 1
                if not refused(data, allowed):
                    passed.append((gadget, spelling, kind))
    events = WATCH.stop()
    print(f"\n{count} hostile pickles: {len(GADGETS)} globals, {len(spelled('os', 'system'))} spellings, 2 allow-lists")
    assert not passed
    assert not events
    assert os.listdir(tmp_path) == []
    assert still_sound()
    assert count > 6000


def test_a_body_file_refuses_them_by_name(tmp_path: Path) -> None:
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    for gadget in GADGETS[::10]:
        path.write_bytes(spelled(*gadget)["GLOBAL REDUCE"])
        with pytest.raises((ForbiddenPickleError, MalformedPickleError), match=r"SMPL_NEUTRAL\.pkl"):
            load_body_pickle(path)


def test_the_watch_sees_what_a_careless_reader_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    for data, event in (
        (b"cposix\nsystem\n(S'touch PWNED'\ntR.", "os.system"),
        (b"c__builtin__\nopen\n(S'PWNED'\nS'w'\ntR0N.", "open"),
        (b"c__builtin__\neval\n(S'1+1'\ntR.", "compile"),
        (b"csubprocess\ngetoutput\n(S'true'\ntR.", "subprocess.Popen"),
        (b"cthis_module_is_not_there\nx\n.", "import"),
    ):
        WATCH.start()
        try:
            pickle.loads(data)
        except ModuleNotFoundError:
            pass
        finally:
            events = WATCH.stop()
        assert any(found.startswith(event) for found in events), (event, events)
    assert (tmp_path / "PWNED").exists()
