"""Are dict keys and set items safe to hash? A shadow of the unpickler's stack tells, before anything is unpickled.

Python's hashes of numbers and tuples are no secret: 300,000 tuples made to collide are 5 MB of pickle and half an hour
in the C unpickler, before any placeholder sees them. Texts and bytes are hashed with a secret key.
"""

import pickletools
from collections.abc import Callable
from typing import Final

from pipeline.safe_pickle.errors import ForbiddenPickleError, MalformedPickleError
from pipeline.safe_pickle.opcodes import argument_end

_CODES: Final = {op.name: ord(op.code) for op in pickletools.opcodes}
_EFFECTS: Final = {ord(op.code): (len(op.stack_before), len(op.stack_after)) for op in pickletools.opcodes}
"""Opcode -> values taken and left, where no mark, memo or tuple plays a part."""
_TUPLE_OPCODES: Final = [_CODES[name] for name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")]


_MAX_UNCHECKED_TUPLES: Final = 5_000  # of one hash, they cost a third of a second


def check_hashed_items(data: bytes) -> None:
    """Refuse tuples and frozensets as dict keys or set items in a pickle that `scan_opcodes` has passed.

    Skipped where the opcodes that make a tuple are too few to matter, as in the labels of a photo with some 50 people.
    Raises ForbiddenPickleError, and MalformedPickleError where values, marks or memo entries are missing.
    """
    if sum(data.count(opcode) for opcode in _TUPLE_OPCODES) <= _MAX_UNCHECKED_TUPLES:
        return
    stack, position = ShadowStack(), 0
    while (opcode := data[position]) != _CODES["STOP"]:
        start, position = position + 1, argument_end(data, position + 1, opcode)
        stack.apply(opcode, data[start:position])


class ShadowStack:
    """For each value on the unpickler's stack, whether its hash can be chosen: a tuple or a frozenset."""

    def __init__(self) -> None:
        self._stack: list[bool] = []
        self._marks: list[int] = []
        self._memo: dict[int, bool] = {}

    def apply(self, opcode: int, argument: bytes) -> None:
        """Do what the unpickler will do. Raises ForbiddenPickleError for a key or set item with a hash of choice,
        MalformedPickleError where values, marks or memo entries are missing.
        """
        if special := _SPECIAL.get(opcode):
            special(self, argument)
            return
        taken, left = _EFFECTS[opcode]
        if taken:
            self._drop(taken)
        if left:
            self._stack.append(False)

    def _drop(self, n: int) -> None:
        if len(self._stack) - n < (self._marks[-1] if self._marks else 0):
            raise MalformedPickleError("not a readable pickle: an opcode without its values")
        del self._stack[len(self._stack) - n :]

    def _to_mark(self) -> list[bool]:
        """Take what lies above the last mark, and the mark."""
        if not self._marks:
            raise MalformedPickleError("not a readable pickle: an opcode without its mark")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _top(self) -> bool:
        if not self._stack:
            raise MalformedPickleError("not a readable pickle: an opcode without its values")
        return self._stack[-1]

    def mark(self, _: bytes) -> None:
        self._marks.append(len(self._stack))

    def pop(self, _: bytes) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._drop(1)

    def duplicate(self, _: bytes) -> None:
        self._stack.append(self._top())

    def pop_to_mark(self, _: bytes) -> None:
        """POP_MARK, and APPENDS: the container below stays what it is."""
        self._to_mark()

    def drop_one(self, _: bytes) -> None:
        """APPEND and BUILD: the object below stays what it is."""
        self._top()
        self._drop(1)

    def make_tuple(self, n: int) -> None:
        self._drop(n)
        self._stack.append(True)

    def tuple_from_mark(self, _: bytes) -> None:
        self._to_mark()
        self._stack.append(True)

    def list_from_mark(self, _: bytes) -> None:
        self._to_mark()
        self._stack.append(False)

    def put(self, number: int) -> None:
        self._memo[number] = self._top()

    def memoize(self, _: bytes) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, number: int) -> None:
        if number not in self._memo:
            raise MalformedPickleError(f"not a readable pickle: memo number {number} was never set")
        self._stack.append(self._memo[number])

    def set_item(self, _: bytes) -> None:
        if len(self._stack) >= 2:
            _refuse(self._stack[-2:-1])
        self._drop(2)

    def set_items(self, _: bytes) -> None:
        _refuse(self._to_mark()[::2])

    def dict_from_mark(self, _: bytes) -> None:
        _refuse(self._to_mark()[::2])
        self._stack.append(False)

    def add_items(self, _: bytes) -> None:
        _refuse(self._to_mark())

    def frozenset_from_mark(self, _: bytes) -> None:
        _refuse(self._to_mark())
        self._stack.append(True)


def _refuse(hashed: list[bool]) -> None:
    if any(hashed):
        raise ForbiddenPickleError("refused a tuple or frozenset as a dict key or in a set")


def _little(argument: bytes) -> int:
    return int.from_bytes(argument, "little")


def _memo_number(method: Callable[[ShadowStack, int], None], read: Callable[[bytes], int]) -> Callable[..., None]:
    return lambda stack, argument: method(stack, read(argument))


def _tuple_of(n: int) -> Callable[[ShadowStack, bytes], None]:
    return lambda stack, _: stack.make_tuple(n)


_SPECIAL: Final[dict[int, Callable[[ShadowStack, bytes], None]]] = {
    _CODES[name]: method
    for name, method in {
        "MARK": ShadowStack.mark,
        "POP": ShadowStack.pop,
        "POP_MARK": ShadowStack.pop_to_mark,
        "DUP": ShadowStack.duplicate,
        "TUPLE": ShadowStack.tuple_from_mark,
        "TUPLE1": _tuple_of(1),
        "TUPLE2": _tuple_of(2),
        "TUPLE3": _tuple_of(3),
        "LIST": ShadowStack.list_from_mark,
        "DICT": ShadowStack.dict_from_mark,
        "FROZENSET": ShadowStack.frozenset_from_mark,
        "APPEND": ShadowStack.drop_one,
        "BUILD": ShadowStack.drop_one,
        "APPENDS": ShadowStack.pop_to_mark,
        "SETITEM": ShadowStack.set_item,
        "SETITEMS": ShadowStack.set_items,
        "ADDITEMS": ShadowStack.add_items,
        "MEMOIZE": ShadowStack.memoize,
        "PUT": _memo_number(ShadowStack.put, int),
        "BINPUT": _memo_number(ShadowStack.put, _little),
        "LONG_BINPUT": _memo_number(ShadowStack.put, _little),
        "GET": _memo_number(ShadowStack.get, int),
        "BINGET": _memo_number(ShadowStack.get, _little),
        "LONG_BINGET": _memo_number(ShadowStack.get, _little),
    }.items()
}
