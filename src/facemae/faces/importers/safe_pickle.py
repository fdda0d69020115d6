"""Pickles of plain values and numpy arrays, read without ever executing what they say.

A pickle is a program. Before it runs, its instructions are checked against a list of harmless ones; while it runs, each
name in it stands for one of our own functions below, and any other name ends the reading. Nothing is imported, no class
of numpy is made, and an array is its shape, its type and its bytes.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from facemae.errors import Damaged, UnsafeFile

_HARMLESS = frozenset(
    [
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "TUPLE",
        "EMPTY_TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "LIST",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
        "BUILD",
        "MEMOIZE",
        "PUT",
        "BINPUT",
        "LONG_BINPUT",
        "GET",
        "BINGET",
        "LONG_BINGET",
    ]
)
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_CORES = ("numpy.core", "numpy._core")
_MOST_SIDES = 64
_TYPE = re.compile(r"[<>|=]?([uif][1248]|b1|\?)")


_MOST_INSTRUCTIONS = 10_000_000
"""A list of 14,000 pictures takes about 200,000; each instruction can make an object of some dozen bytes."""


class _Refused(Exception):
    """What the pickle asks for and does not get."""


class Array:
    """A numpy array as a pickle describes it: ``shape``, ``dtype``, ``data``."""

    def __init__(self, budget: "_Budget") -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype("u1")
        self.data = b""
        self._budget = budget

    def __setstate__(self, state: object) -> None:
        """numpy's own: (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of another form than numpy's")
        self.take(state[4], state[2], state[1])

    def take(self, data: object, dtype: object, shape: object) -> "Array":
        """Become the array of this content, where the three agree."""
        if not isinstance(dtype, _Type) or not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("an array of objects")
        sides = shape if isinstance(shape, tuple) else (shape,)
        # No larger numbers are multiplied than an array can have: a product of long ones takes for ever.
        if len(sides) > _MOST_SIDES or not all(type(side) is int and 0 <= side < 1 << 63 for side in sides):
            raise pickle.UnpicklingError("an array whose shape is no shape")
        if math.prod(sides) * dtype.dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"an array of {len(data)} bytes that do not fit its shape")
        if isinstance(data, bytearray):
            self._budget.spend(len(data))
        self.shape, self.dtype, self.data = sides, dtype.dtype, bytes(data)
        return self

    def values(self) -> np.ndarray:
        """The numbers, in one row."""
        return np.frombuffer(self.data, self.dtype)


class _Type:
    """numpy.dtype("u1", …), and the byte order that follows as its state."""

    def __init__(self, name: object, *_: object) -> None:
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        if not isinstance(text, str) or not _TYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"an array of type {text!r}"[:80])
        self.dtype = np.dtype(text)

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order in (b">", ">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Budget:
    """Bytes that may still be copied: a small file must not fill the memory with copies of one block."""

    def __init__(self, size: int) -> None:
        self._left = size

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("one that copies its content over and over")


def _reconstruct(budget: _Budget, *_: object) -> Array:
    return Array(budget)


def _from_buffer(budget: _Budget, data: object, dtype: object, shape: object, *_: object) -> Array:
    return Array(budget).take(data, dtype, shape)


def _scalar(budget: _Budget, dtype: object, data: object) -> Any:
    return Array(budget).take(data, dtype, (1,)).values()[0].item()


def _encode(budget: _Budget, text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"text in the encoding {encoding!r}"[:80])
    budget.spend(len(text))
    return text.encode("latin-1")


def _dtype(_: _Budget, *arguments: object) -> _Type:
    return _Type(*arguments)


def _ndarray(_: _Budget, *__: object) -> None:
    raise pickle.UnpicklingError("numpy.ndarray called directly")


_Function = Callable[..., object]


class _Name:
    """One of the functions above under its name in the pickle: can be called, cannot be changed."""

    __slots__ = ("_budget", "_function")

    def __init__(self, function: _Function, budget: _Budget) -> None:
        self._function, self._budget = function, budget

    def __call__(self, *arguments: object) -> object:
        return self._function(self._budget, *arguments)

    def __setstate__(self, _: object) -> None:
        raise pickle.UnpicklingError("an instruction that would change a function")


_NAMES: dict[tuple[str, str], _Function] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _CORES},
}


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._budget = _Budget(len(data))

    def find_class(self, module: str, name: str) -> _Name:
        _demand_name(module, name)
        return _Name(_NAMES[module, name], self._budget)


def read_pickle(data: bytes, name: str) -> Any:
    """The value that a pickle holds: tuples, lists, numbers, text, bytes and `Array`; ``name`` is for the error.

    Text that Python 2 wrote comes as bytes. Arrays of objects are refused.

    Raises:
        UnsafeFile: it names anything but numpy's arrays, or has instructions that they do not need.
        Damaged: no pickle, or cut off.
    """
    try:
        _check(data)
        return _Reader(data).load()
    except _Refused as refused:
        raise UnsafeFile(
            f"{name} is not read",
            got=f"a pickle that asks for {refused}",
            needed="arrays, bytes and numbers only",
            remedy="do not open it with other tools either: they would do what it asks",
        ) from None
    except Exception as error:  # a broken pickle raises anything from EOFError to struct.error
        got = " ".join(str(error).split()) or type(error).__name__
        raise Damaged(f"{name} is no pickle that can be read", got=got[:200], remedy="fetch the file again") from None


def _check(data: bytes) -> None:
    """Look at every instruction before any is followed.

    The reader makes room for all places of its memo below the largest one named, so one beyond the number of
    instructions is refused.
    """
    for count, (opcode, argument) in enumerate(_instructions(data)):
        if opcode.name not in _HARMLESS:
            raise _Refused(f"the instruction {opcode.name}")
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            _demand_name(module, name)
        if count == _MOST_INSTRUCTIONS:
            raise ValueError(f"more than {_MOST_INSTRUCTIONS} instructions")
        if opcode.name.endswith("PUT") and int(str(argument)) > count:
            raise ValueError(f"place {argument} of the memo at instruction {count}")


def _instructions(data: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, object]]:
    """Each instruction and its argument, as `pickletools.genops` gives them.

    That decodes STRING as ASCII, which Python 2's protocol 0 fills with the bytes of pictures; what such a text holds
    decides nothing here.
    """
    stream = io.BytesIO(data)
    while True:
        at = stream.tell()
        opcode = _OPCODES.get(stream.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError(f"no instruction at byte {at}" if at < len(data) else "the end before STOP")
        if opcode.name == "STRING":
            yield opcode, stream.readline()
        else:
            yield opcode, None if opcode.arg is None else opcode.arg.reader(stream)
        if opcode.name == "STOP":
            return


def _demand_name(module: str, name: str) -> None:
    if (module, name) not in _NAMES:
        raise _Refused(f"{module}.{name}"[:120])
