"""First wall: a scan of the pickle's opcodes before anything runs."""

import pickletools
from typing import Final

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError

_REFUSED_OPCODES: Final = {
    ord(op.code): op.name
    for op in pickletools.opcodes
    if op.name in {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER"}
}
_PREFIX_BYTES: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def _argument_sizes() -> dict[int, tuple[int, int, int]]:
    """Opcode -> (fixed bytes, length-prefix bytes, newline-ended lines); exactly one of the three is used."""
    sizes = {}
    for op in pickletools.opcodes:
        if op.arg is None:
            sizes[ord(op.code)] = (0, 0, 0)
        elif op.arg.n >= 0:
            sizes[ord(op.code)] = (op.arg.n, 0, 0)
        elif op.arg.n == pickletools.UP_TO_NEWLINE:
            sizes[ord(op.code)] = (0, 0, 2 if op.arg.name == "stringnl_noescape_pair" else 1)
        else:
            sizes[ord(op.code)] = (0, _PREFIX_BYTES[op.arg.n], 0)
    return sizes


_ARGUMENT_SIZES: Final = _argument_sizes()
MAX_OPCODES: Final = 1_000_000  # a person takes 400, a body file 1,000; an empty list takes one and becomes 300 bytes
_MAX_LARGE_INTEGERS: Final = 100  # beyond 64 bits, where any number of them can be made to have one hash
_BYTES_OF_64_BITS: Final = {ord("I"): 21, ord("L"): 22, 0x8A: 9, 0x8B: 12}
"""Opcode -> bytes of its argument, a line of digits or a length and a number, that hold any integer of 64 bits."""
_PUT, _LONG_BINPUT, _STOP = b"pr."
# Bytes that an opcode and its argument take, where the opcode alone says so and nothing else is to be checked; else 0.
_FIXED_STEP: Final = tuple(
    0
    if code in _REFUSED_OPCODES or code in (_LONG_BINPUT, _STOP) or any(_ARGUMENT_SIZES.get(code, (0, 1, 0))[1:])
    else 1 + _ARGUMENT_SIZES[code][0]
    for code in range(256)
)


def scan_opcodes(data: bytes, max_opcodes: int = MAX_OPCODES) -> None:
    """Refuse opcodes that reach outside the pickle, lengths beyond its end, memo numbers beyond its opcode count, and
    large integers in numbers: as dict keys they may have one hash, which costs the square of their number.

    The C unpickler sizes its memo by the largest number: 5 bytes of LONG_BINPUT could claim 32 GB.
    """
    position, count, large, end = 0, 0, 0, len(data)
    while position < end:
        opcode = data[position]
        count += 1
        if count > max_opcodes:
            raise ForbiddenPickleError(f"refused a pickle of more than {max_opcodes} opcodes")
        if step := _FIXED_STEP[opcode]:
            position += step
            continue
        if opcode in _REFUSED_OPCODES:
            raise ForbiddenPickleError(f"refused the pickle opcode {_REFUSED_OPCODES[opcode]} at byte {position}")
        if opcode not in _ARGUMENT_SIZES:
            raise MalformedPickleError(f"not a pickle: unknown opcode 0x{opcode:02x} at byte {position}")
        start = position + 1
        position = argument_end(data, start, opcode)
        if not start <= position <= end:
            raise MalformedPickleError(f"the pickle ends inside the value at byte {start} of {end}")
        if opcode in _BYTES_OF_64_BITS and position - start > _BYTES_OF_64_BITS[opcode]:
            large += 1
            if large > _MAX_LARGE_INTEGERS:
                raise ForbiddenPickleError(f"refused more than {_MAX_LARGE_INTEGERS} integers beyond 64 bits")
        if opcode in (_LONG_BINPUT, _PUT):
            argument = data[start:position]
            number = int.from_bytes(argument, "little") if opcode == _LONG_BINPUT else int(argument)
            if not 0 <= number <= count:
                raise ForbiddenPickleError(f"refused memo number {number} after {count} opcodes at byte {start}")
        if opcode == _STOP:
            return
    if position > end:
        raise MalformedPickleError(f"the pickle ends inside its last value, at byte {end}")
    raise MalformedPickleError(f"the pickle has no end mark within its {end} bytes")


def argument_end(data: bytes, start: int, opcode: int) -> int:
    """Offset after the argument of `opcode` that starts at `start`; 0 when a line has no end."""
    fixed, prefix, lines = _ARGUMENT_SIZES[opcode]
    if prefix:
        return start + prefix + int.from_bytes(data[start : start + prefix], "little")
    for _ in range(lines):
        start = data.find(b"\n", start) + 1
        if start == 0:
            return 0
    return start + fixed
