"""Reads a pickle as data. A pickle is a program: `pickle.load` imports and calls whatever it names.

Here a small stack machine of our own runs the instructions that data needs. It imports nothing, sets no attribute, and
calls only functions that the caller hands in, so that what a file can do is what this page and the caller's table say.
Its time and memory are in proportion to the pickle's length.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO


class Refused(ValueError):
    """The pickle names a class or function that isn't in the table; its text is the name."""


class Function:
    """A function of ours that a pickle may call: nothing else in a pickle can be called."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class Inert:
    """An object that nothing here needs: what it was made of is forgotten."""


class Stateful:
    """An object whose state, as the pickle has it, is kept: what it is made of comes after it is made."""

    state: Any = None


def inert(*_: Any) -> Inert:
    return Inert()


def ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """A dict from a list of pairs, which Python 2 wrote, or an empty one. The list is used up: copying one list again
    and again is how a small file makes much work."""
    result: dict[Any, Any] = {}
    for pair in pairs:
        key, result[_key(key)] = pair[0], pair[1]
        if len(pair) != 2:
            raise ValueError("a pair of another length")
    if pairs:
        pairs.clear()
    return result


MAX_ARGUMENTS = 32
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # which protocol 2 writes
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_OLD_TEXTS = {"SHORT_BINSTRING", "BINSTRING"}  # Python 2's str
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,  # a set's items may be anything, and hashing anything may take for ever
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def text_of(encoded: bytes) -> str:
    """What Python 2's str is to PyTorch's files."""
    return encoded.decode("utf-8")


def load(
    file: BinaryIO,
    table: Mapping[str, Any],
    persistent: Callable[[Any], Any] = inert,
    old_text: Callable[[bytes], Any] = text_of,
) -> Any:
    """The object that a pickle describes; the file stands behind it then.

    Args:
      file: whose `read(n)` takes no more memory than there is in the file, whatever n (`io.BytesIO`).
      table: what the names in the pickle are, "module.name": `Function`s and constants.
      persistent: gives the objects that are kept outside the pickle, by what it calls them.
      old_text: what Python 2's str, which may be text or bytes, becomes.

    Raises:
      Refused: it names something that isn't in the table.
      ValueError, TypeError, LookupError, AttributeError: it is damaged, or has instructions that data doesn't need.
    """
    machine = _Machine(table, persistent, old_text)
    for opcode, argument, _ in pickletools.genops(file):
        machine.run(opcode.name, argument)
    (result,) = machine.stack
    return result


class _Machine:
    def __init__(
        self, table: Mapping[str, Any], persistent: Callable[[Any], Any], old_text: Callable[[bytes], Any]
    ) -> None:
        self.table, self.persistent, self.old_text = table, persistent, old_text
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what is on the stack below each mark
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """One instruction."""
        push = self.stack.append
        if name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _VALUES:
            push(argument)
        elif name in _TEXTS:
            push(text_of(argument.encode("utf-8", "surrogatepass")))
        elif name in _OLD_TEXTS:
            push(self.old_text(argument.encode("latin-1")))
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in _TUPLES:
            push(tuple(reversed([self.stack.pop() for _ in range(_TUPLES[name])])))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name == "GLOBAL":
            push(self._named(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, module = self.stack.pop(), self.stack.pop()
            push(self._named(f"{module}.{last}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            if not isinstance(function, Function) or not isinstance(arguments, tuple):
                raise ValueError("a call of what is no function")
            if len(arguments) > MAX_ARGUMENTS:  # copied at each call
                raise ValueError("a call with too many arguments")
            self.stack.append(function.call(*arguments))
        elif name == "BINPERSID":
            push(self.persistent(self.stack.pop()))
        elif name == "BUILD":
            state, target = self.stack.pop(), self.stack[-1]
            if isinstance(target, Stateful):
                target.state = state
            elif not isinstance(target, dict | Inert):
                raise ValueError("attributes of what has none")
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._fill(name)

    def _fill(self, name: str) -> None:
        """The instructions that fill a collection: with the last item, two or what is above the last mark."""
        if name in ("APPEND", "SETITEM"):
            count = 1 if name == "APPEND" else 2
            items = self.stack[-count:]
            del self.stack[-count:]
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS", "TUPLE", "FROZENSET"):
            items, self.stack = self.stack, self.below.pop()
        else:
            raise ValueError(f"instruction {name}")
        if name in ("TUPLE", "FROZENSET"):
            self.stack.append(tuple(items))
        elif isinstance(self.stack[-1], Inert):
            pass
        elif name in ("SETITEM", "SETITEMS"):
            target = self.stack[-1]
            if not isinstance(target, dict) or len(items) % 2:
                raise ValueError("items of what is no dict")
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_key(key)] = value
        elif isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        else:
            raise ValueError("items of what is no list")

    def _named(self, name: str) -> Any:
        module, _, rest = name.partition(".")
        name = f"{_PYTHON_2.get(module, module)}.{rest}"
        if name not in self.table:
            raise Refused(ascii(name)[1:-1][:80])
        return self.table[name]


def _key(key: Any) -> Any:
    """A dict's key: plain values alone, and tuples of them, which can be hashed in no time."""
    for part in key if isinstance(key, tuple) and len(key) < 10 else (key,):
        if not isinstance(part, str | int | float | bytes | None):
            raise ValueError(f"a key of type {type(part).__name__}")
        if isinstance(part, int) and not -(2**63) <= part < 2**63:  # many of those can have one hash
            raise ValueError("a key of more than 64 bits")
    return key
