"""The held-out split: which photos are kept for validation, the same in every round and on every machine."""

import hashlib


def is_held_out(dataset: str, shard: str, key: str, share: float) -> bool:
    """True for about `share` of all photos, chosen by a hash of the photo, so that its people stay together."""
    digest = hashlib.blake2b("\x1f".join((dataset, shard, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64
