"""What a photo is of, for keeping apart who teaches a network and who it is asked about.

Photos of one group show the same, so that all of them are on one side of any split. The number is stored with labels:
this definition never changes.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

_LAST_NUMBER: Final = re.compile(r"[0-9]+$")


def photo_group(jpeg: bytes, dataset: str, key: str, tracks: Sequence[tuple[str, int]]) -> int:
    """64 bits, signed, never 0: of the sequence that the photo is a frame of, else of the file's content.

    The same file has the same group in every data set, whatever its key. tracks: (track_id, frame) of the people. A
    sequence is named by the key without its frame number where the key ends in that, else by the first of the track
    ids and the data set. Photos encoded anew, and films under two names, are not recognised.
    """
    if not tracks:
        return _digest(b"photo", jpeg)
    number = _LAST_NUMBER.search(key)
    if number is not None and any(int(number[0]) == frame for _, frame in tracks):
        return _digest(b"video", key[: number.start()].encode())
    return _digest(b"track", "\x1f".join((dataset, min(tracks)[0])).encode())


def _digest(kind: bytes, content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, person=kind).digest(), "little", signed=True) or 1
