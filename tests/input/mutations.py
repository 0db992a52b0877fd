"""Hostile shards, each made from its seed alone: sound ones damaged at the level of bytes, tar, JPEG, pickle or values.

`made_case(seed)` gives the same bytes for ever, so a failure is repeated by its seed.
"""

import io
import itertools
import pickle
import pickletools
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.input.gadgets import gadget_pickles
from tests.pipeline.shards.samples import person, photo_bytes

Rng = np.random.Generator
Members = list[tuple[tarfile.TarInfo, bytes]]

KEYS = ("good/first", "good/second", "good/third")
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A hostile shard. `kept`: keys of samples that the damage did not touch and that must come through unchanged."""

    seed: int
    level: str
    tar: bytes
    kept: tuple[str, ...] = ()


def made_case(seed: int, seeds: tuple[bytes, ...] = ()) -> Case:
    """Case number `seed`; `seeds`: further shards to damage as bytes, such as real ones."""
    rng = np.random.default_rng(seed)
    level = list(LEVELS)[seed % len(LEVELS)]
    tar, kept = LEVELS[level](rng, seeds)
    return Case(seed=seed, level=level, tar=tar, kept=kept)


@cache
def good_samples() -> tuple[tuple[bytes, bytes], ...]:
    """(JPEG, data.pyd) of each of KEYS: baseline, progressive and grey photos, pickles of protocols 4, 2 and 5."""
    jpegs = (photo_bytes(0), _saved(photo_bytes(1), progressive=True), _saved(photo_bytes(2), mode="L"))
    people = ([person(0)], [person(1), person(2)], [person(3)])
    return tuple(
        (jpeg, pickle.dumps(list(records), protocol))
        for jpeg, records, protocol in zip(jpegs, people, (4, 4, 5), strict=True)
    )


def good_tar() -> bytes:
    return packed(_members())


def packed(members: Members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _saved(jpeg: bytes, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def _members(second: tuple[bytes, bytes] | None = None) -> Members:
    """The three samples, the second one replaced."""
    first, middle, third = good_samples()
    return tar_members([first, second or middle, third])


def tar_members(samples: Sequence[tuple[bytes, bytes]]) -> Members:
    """Members of a tar of samples, (JPEG, data.pyd) of each of KEYS."""
    return [
        (tarfile.TarInfo(f"{key}.{part}"), data)
        for key, sample in zip(KEYS, samples, strict=True)
        for part, data in zip(("jpg", "data.pyd"), sample, strict=True)
    ]


def _with_second(jpeg: bytes | None = None, labels: bytes | None = None) -> tuple[bytes, tuple[str, ...]]:
    middle = good_samples()[1]
    return packed(_members((jpeg or middle[0], labels or middle[1]))), (KEYS[0], KEYS[2])


def damaged(data: bytes, rng: Rng, *, most: int = 4) -> bytes:
    """Any bytes, a few places of them changed, cut, doubled or grown."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        at, length = int(rng.integers(len(out) + 1)), int(rng.integers(1, 64))
        match int(rng.integers(7)):
            case 0:
                out[at : at + 1] = rng.bytes(1)
            case 1:
                out[at : at + length] = rng.bytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = rng.bytes(length)
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at : at + length] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * length
            case _:
                if rng.random() < 0.2:
                    del out[at:]
    return bytes(out)


# --- levels: (rng, further seeds) -> (tar, keys that must come through) ---


def _any_bytes(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    choices = (good_tar(), *seeds)
    return damaged(choices[int(rng.integers(len(choices)))], rng), ()


def _tar_blocks(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Blocks of 512 bytes dropped, doubled, swapped: the grain of a tar."""
    data = good_tar()
    blocks = [data[i : i + _BLOCK] for i in range(0, len(data), _BLOCK)]
    for _ in range(int(rng.integers(1, 4))):
        i, j = (int(n) for n in rng.integers(len(blocks), size=2))
        match int(rng.integers(4)):
            case 0:
                del blocks[i]
            case 1:
                blocks.insert(i, blocks[j])
            case 2:
                blocks[i], blocks[j] = blocks[j], blocks[i]
            case _:
                del blocks[max(i, 1) :]
        blocks = blocks or [bytes(_BLOCK)]
    return b"".join(blocks), ()


def _tar_header(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """One header of the second sample rewritten, its checksum set right again."""
    data = bytearray(good_tar())
    at = data.index(f"{KEYS[1]}.{rng.choice(['jpg', 'data.pyd'])}".encode())
    fields = {"name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1),
              "link": (157, 100), "magic": (257, 8), "prefix": (345, 155)}  # fmt: skip
    start, length = fields[str(rng.choice(list(fields), p=[0.25, 0.03, 0.3, 0.02, 0.2, 0.05, 0.05, 0.1]))]
    data[at + start : at + start + length] = _header_value(rng, length)
    header = bytes(data[at : at + 148]) + b" " * 8 + bytes(data[at + 156 : at + _BLOCK])
    data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    return bytes(data), (KEYS[0],)


def _header_value(rng: Rng, length: int) -> bytes:
    values = (
        *(b"../../etc/passwd", b"/etc/cron.d/x.jpg", b"a/../../b.data.pyd", b"\\..\\x.jpg", b"good/first.jpg", b"."),
        *(b"x" * 155, b"\xff\xfe.jpg", b"\x1b[2J.jpg", b"", b"777777777777", b"-0000000001", b"0", b"00000000001\0"),
        b"\x80" + (2**70).to_bytes(11, "big"),
        b"\xff" * 12,
        *(bytes([c]) for c in b"0123456789KLSxgDVX\0"),
        rng.bytes(length),
    )
    return values[int(rng.integers(len(values)))][:length].ljust(length, b"\0")


def _tar_members(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Links, devices, PAX headers, members without end, strange neighbours beside the second sample."""
    members = _members()
    for _ in range(int(rng.integers(1, 4))):
        # Between samples, never inside one of the good ones.
        members.insert(int(rng.choice([2, 3, 4])), (_strange_member(rng), rng.bytes(int(rng.integers(700)))))
    return packed(members), (KEYS[0], KEYS[2])


def _strange_member(rng: Rng) -> tarfile.TarInfo:
    info = tarfile.TarInfo(
        str(
            rng.choice(
                ["../out.jpg", "/abs.jpg", "good/second.txt", "good/second.jpg", "x" * 300 + ".jpg", "a/b/../c.jpg",
                 "noend", ".hidden", "good/é.jpg", "good/second.detection.npz", "con:.jpg"]
            )
        )
    )  # fmt: skip
    info.type = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"Z"][int(rng.integers(10))]
    info.linkname = "/etc/passwd" if info.type in (b"1", b"2") else ""
    pax = ({}, {"size": "99999999999999999"}, {"size": "-5"}, {"size": "1e9"}, {"GNU.sparse.map": "0,1"},
           {"path": "../../pax.jpg"}, {"path": "x" * 5000}, {"comment": "c" * 20_000}, {"mtime": "nan"})  # fmt: skip
    info.pax_headers = dict(pax[int(rng.integers(len(pax)))])
    return info


def _jpeg(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """The second photo: markers rewritten, sizes blown up, scans repeated, or bytes damaged."""
    jpeg = bytearray(good_samples()[int(rng.integers(3))][0])
    markers = [i for i in range(len(jpeg) - 10) if jpeg[i] == 0xFF and jpeg[i + 1] not in (0, 0xFF)]
    at = int(rng.choice(markers))
    match int(rng.integers(6)):
        case 0:
            frame = next(i for i in markers if jpeg[i + 1] in (0xC0, 0xC2))
            sizes = rng.choice([0, 1, 7, 8, 9, 640, 4999, 5001, 10_000, 65_535], 2)
            jpeg[frame + 5 : frame + 9] = struct.pack(">HH", *(int(size) for size in sizes))
        case 1:
            jpeg[at + 1] = int(rng.integers(0xC0, 0x100))
        case 2:
            jpeg[at + 2 : at + 4] = struct.pack(">H", int(rng.choice([0, 1, 2, 8, 600, 65_535])))
        case 3:
            scan = next(i for i in markers if jpeg[i + 1] == 0xDA)
            jpeg[-2:-2] = jpeg[scan:-2] * int(rng.choice([1, 3, 120]))
        case 4:
            jpeg[at:at] = jpeg[int(rng.choice(markers)) :][: int(rng.integers(2, 400))]
        case _:
            return _with_second(jpeg=damaged(bytes(jpeg), rng))
    return _with_second(jpeg=bytes(jpeg))


def _pickle(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """The second pickle: opcodes dropped, doubled, swapped, exchanged; arguments replaced; gadgets spliced in."""
    return _with_second(labels=mutated_pickle(good_samples()[int(rng.integers(3))][1], rng))


def mutated_pickle(labels: bytes, rng: Rng) -> bytes:
    """The pickle with a few of its opcodes changed."""
    pieces = _opcodes(labels)
    for _ in range(int(rng.integers(1, 5))):
        i, j = (int(n) for n in rng.integers(2, len(pieces), size=2))
        match int(rng.integers(6)):
            case 0:
                del pieces[i]
            case 1:
                pieces.insert(i, pieces[j])
            case 2:
                pieces[i], pieces[j] = pieces[j], pieces[i]
            case 3:
                pieces[i] = bytes([int(rng.integers(256))]) + pieces[i][1:]
            case 4:
                pieces.insert(i, _SNIPPETS[int(rng.integers(len(_SNIPPETS)))])
            case _:
                gadgets = gadget_pickles()
                pieces.insert(i, gadgets[int(rng.integers(len(gadgets)))].removesuffix(b"."))
    return b"".join(pieces)


_SNIPPETS = (
    *(b"\x94", b"0", b"2", b"(", b"1", b"N", b"}", b"]", b")", b"\x8f", b"R", b"b", b"a", b"e", b"s", b"u", b"\x81"),
    *(b"\x93", b"\x92", b"\x91", b"\x90", b"t", b"l", b"d", b"h\x00", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f"),
    *(b"K\x00", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\xff" * 8 + b"\x7f"),
    *(b"G\x7f\xf0" + bytes(6), b"G\x7f\xf8" + bytes(6)),
    *(b"I99999999999999999999\n", b"L1" + b"0" * 4000 + b"L\n", b"Fnan\n", b"F1e999\n", b"V\\ud800\n", b"Vx\n"),
    *(b"\x8c\x03abc", b"C\x01b", b"\x96" + (3).to_bytes(8, "little") + b"abc", b"X\x02\x00\x00\x00\xed\xa0"),
)  # fmt: skip


@cache
def _opcode_ends(labels: bytes) -> tuple[int, ...]:
    return (*(position for _, _, position in pickletools.genops(labels) if position is not None), len(labels))


def _opcodes(labels: bytes) -> list[bytes]:
    """The pickle cut at its opcodes; frames are left out, as they only hint at lengths."""
    ends = _opcode_ends(labels)
    pieces = [labels[a:b] for a, b in itertools.pairwise(ends)]
    return [piece for piece in pieces if not piece.startswith(b"\x95")]


def _values(rng: Rng, seeds: tuple[bytes, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Well-formed pickles of absurd values: other types, shapes, sizes and numbers in any field of a person."""
    people: Any = [person(1), person(2)]
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice([*people[0], "orig_poses"]))
        people[int(rng.integers(2))][name] = absurd(rng, people[0].get(name))
    if rng.random() < 0.1:
        people = [absurd(rng, people), *people]
    try:
        labels = pickle.dumps(people, int(rng.choice([2, 3, 4, 5])))
    except (pickle.PicklingError, OverflowError):
        labels = pickle.dumps(None)
    return _with_second(labels=labels)


def absurd(rng: Rng, value: Any) -> Any:
    numbers = (
        0,
        1,
        -1,
        4,
        1e-320,
        5e-324,
        1e38,
        3.5e38,
        1e308,
        -1e308,
        np.inf,
        -np.inf,
        np.nan,
        2**53,
        2**63,
        2**64,
        10**400,
    )
    number = numbers[int(rng.integers(len(numbers)))]
    shape = np.shape(value) if isinstance(value, np.ndarray) else (2,)
    dtype = str(rng.choice(["f2", "f4", ">f8", "i1", "u8", "?", "c16", "S3", "U2", "O"]))
    with np.errstate(all="ignore"):
        makers: tuple[Callable[[], Any], ...] = (
            lambda: number,
            lambda: None,
            lambda: str(number),
            lambda: bool(rng.integers(2)),
            lambda: [number] * int(rng.integers(5)),
            lambda: {"a": number, 1: {}},
            lambda: {1, 2},
            lambda: b"\x00" * int(rng.integers(100)),
            lambda: np.full(shape, float(number) if abs(number) < 1e308 else np.inf),
            lambda: np.full(shape, 1).astype(dtype),
            lambda: np.full((*shape, 1), 1.0),
            lambda: np.empty((0, 3)),
            lambda: np.float64(number if abs(number) < 1e308 else 1e308),
            lambda: np.array(1.0),
            lambda: np.array({}, dtype=object),
            lambda: np.where(rng.random(shape) < 0.2, rng.choice([np.nan, np.inf, 1e308]), 1.0),
            lambda: np.zeros((1,) * 30),
            lambda: np.zeros(int(rng.integers(200_000)), np.uint8),
            lambda: np.broadcast_to(np.float32(1), (44, 3)),
            lambda: np.arange(44 * 3.0).reshape(44, 3)[::-1, ::-1],
            lambda: np.asfortranarray(np.ones((44, 3), ">f8")),
            lambda: {"track_id": number, "frame": number},
            lambda: {"track_id": "\ud800", "frame": np.array([1])},
        )  # fmt: skip
        return makers[int(rng.integers(len(makers)))]()


LEVELS: dict[str, Callable[[Rng, tuple[bytes, ...]], tuple[bytes, tuple[str, ...]]]] = {
    "bytes": _any_bytes,
    "tar blocks": _tar_blocks,
    "tar header": _tar_header,
    "tar members": _tar_members,
    "jpeg": _jpeg,
    "pickle": _pickle,
    "values": _values,
}


def shared_seeds(shared: Path) -> tuple[bytes, ...]:
    """The shards of a folder of inputs, broken ones included."""
    return tuple(path.read_bytes() for path in sorted(shared.glob("data/*/*.tar")) if path.stat().st_size < 200_000)
