"""Look at people and their labels in a web browser: a page on this machine, read-only unless a reviewer is named."""

import argparse
import socket
import sys
from typing import TYPE_CHECKING

from jobs.command_line import Command, Errors, add_keys, add_overrides, command_parser

if TYPE_CHECKING:
    from pipeline.browser.browse_config import BrowserConfig

EPILOG = """examples:
  python jobs/browse_labels.py storage.root=./labels
  python jobs/browse_labels.py storage.root=s3://bucket/labels browse.reviewer=anna
  python jobs/browse_labels.py browse.host=0.0.0.0 browse.name=gpu7.lab browse.token=SECRET_OF_16_CHARACTERS

It serves 127.0.0.1 alone and writes nothing. With browse.reviewer=NAME reviews are stored beside the labels. What the
page can do, and how it is guarded: docs/browser.md.

exit codes: 0 stopped by Ctrl-C; 1 it cannot serve, and the message says why; 2 an option or override is wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return Command(name="browse_labels", parser=_parser, work=_work, failed=_failures).run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("browse_labels", __doc__, EPILOG)
    add_keys(parser, _settings)
    add_overrides(parser, "storage.root=DIR")
    return parser


def _settings() -> tuple[type, ...]:
    from pipeline.browser.browse_config import BrowserConfig

    return (BrowserConfig,)


def _failures() -> Errors:
    from pipeline.body import BodyFileError
    from pipeline.labels import LabelStoreError

    return LabelStoreError, BodyFileError, OSError, ValueError


def _work(options: argparse.Namespace) -> int:
    from pipeline.browser.browse_config import BrowserConfig
    from pipeline.runtime.config import load_config

    return _serve(load_config(BrowserConfig, options.overrides))


def _serve(config: "BrowserConfig") -> int:
    import torch
    import uvicorn

    from pipeline.body.gendered_skel import load_skels
    from pipeline.browser.app import make_app
    from pipeline.browser.photo_shelf import PhotoShelf
    from pipeline.labels import LabelStore, LabelStoreError

    store = LabelStore(config.storage.root, config.storage.catalog)
    if not store.rounds():
        raise LabelStoreError(store.nothing_published())
    torch.set_num_threads(1)  # pictures are drawn side by side
    shelf = PhotoShelf(store, config.data.shards, config.data.dataset)
    app = make_app(store, shelf, load_skels(config.body.source, config.body.gender), config.browse)
    with _listening(config.browse.host, config.browse.port) as listener:
        print(f"The labels of {store.storage.root}: {_address(config, listener)}", flush=True)
        print("Reviews are " + (f"written as {config.browse.reviewer}." if config.browse.reviewer else "not written."))
        print("Ctrl-C stops it.", flush=True)
        settings = uvicorn.Config(app, log_level="warning", server_header=False, proxy_headers=False, lifespan="off")
        uvicorn.Server(settings).run(sockets=[listener])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"cannot serve {host}:{port}: {error.strerror or error}. Another port: browse.port=8766, or 0 for any"
        ) from error
    return listener


def _address(config: "BrowserConfig", listener: socket.socket) -> str:
    """Where to point the web browser; without the token, which would stand in logs."""
    name = config.browse.name or config.browse.host
    address = f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}/"
    return address if config.browse.token is None else f"{address}?token=... (your browse.token)"


if __name__ == "__main__":
    sys.exit(main())
