"""A small published store without photos, and a server over it in a thread of its own."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from pipeline.body import load_skel
from pipeline.browser.app import make_app
from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.photo_shelf import PhotoShelf
from pipeline.labels import LabelStore
from tests.pipeline.labels.label_tables import publish_rounds


def made_store(folder: Path, rounds: int = 2) -> LabelStore:
    """Random labels of 60 people in three shards."""
    store = LabelStore(str(folder / "labels"))
    publish_rounds(store, rounds)
    return store


@dataclass(frozen=True)
class Served:
    """A server that listens; requests go over a real socket."""

    port: int

    def raw(
        self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: str | bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body); `Host` is this server's unless the headers say otherwise."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Host": f"127.0.0.1:{self.port}"} | (headers or {})
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        data = body.encode() if isinstance(body, str) else body
        for name, value in given.items():
            connection.putheader(name, value)
        if data is not None and "Content-Length" not in given:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def ask(self, path: str, *pairs: tuple[str, object]) -> Any:
        """JSON of /api/path; waits for the index."""
        for _ in range(600):
            status, _, body = self.raw(f"/api/{path}?{urlencode(pairs)}")
            if status != 202:
                assert status == 200, body
                return json.loads(body)
            time.sleep(0.05)
        raise AssertionError("the index was not made")

    def post(self, body: object, **headers: str) -> tuple[int, Any]:
        """A review, as the page sends it."""
        own = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"} | headers
        status, _, answer = self.raw("/api/review", method="POST", headers=own, body=json.dumps(body))
        return status, json.loads(answer)


@contextmanager
def serving(store: LabelStore, folder: Path, **settings: Any) -> Iterator[Served]:
    """The label browser over a store; settings of BrowseConfig."""
    config = BrowseConfig(cache=str(folder / "cache"), **settings)
    app = make_app(store, PhotoShelf(store), {"male": load_skel()}, config)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Served(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
