"""Strict tar reading: every way a tar can be short or broken is told apart from its clean end.

Python's `tarfile` stops silently at a damaged header or at a missing end mark, which would lose people without a word.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

_BLOCK = 512
_MAX_NAME_HEADER_BYTES = 2**16
_TAIL_CHUNK_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"


class NotATarError(ValueError):
    """The bytes do not start with a tar header."""


class TarCutError(ValueError):
    """The archive ends, or cannot be followed, before its end mark. Members given so far are whole."""


class SourceError(OSError):
    """The file or the network failed; `__cause__` has the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarMember:
    """A member's header. kind: "file", "folder", or the name of what we do not read (link, device, sparse file)."""

    name: str
    size: int
    kind: str
    offset: int


class Members(Protocol):
    """Headers in file order, and the bytes of each while it is the latest."""

    def __iter__(self) -> Iterator[TarMember]: ...

    def read(self, member: TarMember) -> bytes: ...


_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


class TarStream:
    """Members of a tar in file order; memory is bounded by what the caller reads.

    Iterating raises NotATarError, TarCutError or SourceError; ending without an error means that the end mark was met.
    """

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source = source
        self._size = size

    def __iter__(self) -> Iterator[TarMember]:
        offset, extended = 0, {}
        while (header := self._header(offset)) is not None:
            data, offset = offset + _BLOCK, offset + _BLOCK + _padded(header.size)
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
                extended |= self._extended(header, data)
                continue
            size = self._pax_size(extended, header, data)
            offset = data + _padded(size)
            kind = _KINDS.get(header.type, f"entry of type {header.type!r}")
            if any(name.startswith("GNU.sparse") for name in extended):
                kind = "sparse file"
            yield TarMember(name=extended.get("path", header.name), size=size, kind=kind, offset=data)
            extended = {}
        self._check_tail(offset)

    def read(self, member: TarMember) -> bytes:
        """All bytes of the member. Raises TarCutError if the archive ends inside it."""
        if member.offset + member.size > self._size:
            raise TarCutError(f"cut at byte {self._size} inside {member.name[:200]!r}, {member.size} bytes long")
        return self._read(member.offset, member.size)

    def _header(self, offset: int) -> tarfile.TarInfo | None:
        """Header at `offset`, or None at the end mark."""
        block = self._read(offset, max(0, min(_BLOCK, self._size - offset)))
        if len(block) == block.count(0) == _BLOCK:
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._header_error(block, offset) from error
        if header.size < 0:
            raise TarCutError(f"the member at byte {offset} declares a size of {header.size} bytes")
        return header

    def _header_error(self, block: bytes, offset: int) -> ValueError:
        if offset == 0 and block.startswith(_GZIP_MAGIC):
            return NotATarError("a gzip file, not a tar: unpack it with gunzip")
        if offset == 0:
            return NotATarError(f"not a tar: no tar header in the first {len(block)} of {self._size} bytes")
        if len(block) < _BLOCK:
            return TarCutError(f"cut at byte {self._size}: no end-of-archive mark")
        return TarCutError(f"damaged header at byte {offset}: the last {self._size - offset} bytes cannot be read")

    def _extended(self, header: tarfile.TarInfo, offset: int) -> dict[str, str]:
        """Values that a GNU or PAX header gives to the next member. Global PAX headers carry nothing that we read."""
        if header.size > _MAX_NAME_HEADER_BYTES:
            raise TarCutError(f"the name header at byte {offset} declares {header.size} bytes")
        if offset + header.size > self._size:
            raise TarCutError(f"cut at byte {self._size} inside a name header")
        payload = self._read(offset, header.size)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": payload.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
        if header.type == tarfile.XHDTYPE:
            return _pax_records(payload, offset)
        return {}

    def _pax_size(self, extended: dict[str, str], header: tarfile.TarInfo, offset: int) -> int:
        size = extended.get("size", str(header.size))
        if not (size.isascii() and size.isdigit() and len(size) < 20):
            raise TarCutError(f"the PAX header before byte {offset} declares a size of {size[:40]!r}")
        return int(size)

    def _check_tail(self, offset: int) -> None:
        """After the end mark only zeros may follow; anything else is a second archive that nobody would read."""
        while offset < self._size:
            chunk = self._read(offset, min(_TAIL_CHUNK_BYTES, self._size - offset))
            if chunk.count(0) != len(chunk):
                raise TarCutError(f"data after the end-of-archive mark, near byte {offset}: joined tars must be split")
            offset += len(chunk)

    def _read(self, offset: int, size: int) -> bytes:
        if size == 0:
            return b""
        try:
            self._source.seek(offset)
            data = self._source.read(size)
        except Exception as error:  # fsspec passes on errors of botocore and aiohttp, which share no base class
            cause = f"{type(error).__name__}: {error}"
            raise SourceError(f"reading bytes {offset} to {offset + size} failed: {cause}") from error
        if len(data) != size:
            raise SourceError(f"bytes {offset} to {offset + size} came back as {len(data)} bytes: the file changed")
        return data


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _pax_records(payload: bytes, offset: int) -> dict[str, str]:
    """Records "<length> <name>=<value>\\n" of a PAX header."""
    records: dict[str, str] = {}
    while payload and payload[0]:
        digits = payload[:20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        name, equals, value = payload[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
        if not equals or payload[length - 1 : length] != b"\n":
            raise TarCutError(f"damaged PAX header at byte {offset}")
        records[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        payload = payload[length:]
    return records
