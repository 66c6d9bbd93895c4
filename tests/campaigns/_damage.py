"""What disks, editors and strangers do to a small file."""

import json
import os
import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**12, 2**63, -(10**30), 10**400, 0.5, -0.5, 1e308, 1e-320, float("nan"),
    float("inf"), -float("inf"), "", "a", "\x1b[31mred", "\ud800", "a" * 5000, "../../etc", "\n", [], [[]], {}, {"": 1},
    [None], [1, 2, 3], ["a"], [float("nan")] * 3, {"a": {"b": [1]}},
)  # fmt: skip
"""Of JSON, as Python reads and writes it."""


def odd_value(rng: random.Random) -> Any:
    """One of VALUES, a copy: a later change to it is this case's alone."""
    return deepcopy(rng.choice(VALUES))


def damage(path: Path, rng: random.Random) -> str:
    """Damages a file in one of many ways; returns which."""
    kinds = [*BYTES, *(PLACES * 2)]
    if path.suffix in (".json", ".jsonl", "") and _parsed(path) is not None:
        kinds += [change_json] * 14
    kind = rng.choice(kinds)
    kind(path, rng)
    return kind.__name__


def _parsed(path: Path) -> list[Any] | None:
    """Returns the values of a file of JSON, a line each in a .jsonl; None if it holds something else."""
    try:
        text = path.read_text(encoding="utf-8")
        values = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    except (OSError, ValueError):
        return None
    return values if values and all(isinstance(value, dict) for value in values) else None


def change_json(path: Path, rng: random.Random) -> None:
    """Removes, adds or replaces values of one or two objects in it."""
    values = _parsed(path)
    assert values is not None
    for _ in range(rng.choice((1, 1, 1, 2))):
        places = [spot for value in values for spot in _spots(value)]
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(["", "nme", "\x1b[31m", "a" * 400])] = odd_value(rng)
        elif what == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = rng.choice([-holder[key], holder[key] * 10**9, float(holder[key]), str(holder[key])])
        else:
            holder[key] = odd_value(rng)
    lines = [json.dumps(value, indent=None if path.suffix == ".jsonl" else 1) for value in values]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Returns every place in nested dicts and lists."""
    keys = (
        list(value) if isinstance(value, dict) else list(range(min(len(value), 4))) if isinstance(value, list) else []
    )
    return [(value, key) for key in keys] + [spot for key in keys for spot in _spots(value[key])]


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def truncated(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def zeros(path: Path, rng: random.Random) -> None:
    """As after a power loss: the length is there, the data aren't."""
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 20)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def random_bytes(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.choice((1, 100, 5000))))


def not_utf8(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    at = rng.randrange(len(data) + 1)
    path.write_bytes(data[:at] + b"\xff\xfe\x80" + data[at:])


def utf16(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes().decode("utf-8", "replace").encode("utf-16"))


def byte_order_mark(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def other_text(path: Path, rng: random.Random) -> None:
    texts = (
        "[]",
        "null",
        "3",
        '"a"',
        "{}",
        "[[[[",
        "nan",
        "[" * 100_000,
        "{}\n{}\n",
        "\n\n\n",
        '{"a":' * 3000,
        "<html>",
    )
    path.write_text(rng.choice(texts))


def lines_mixed(path: Path, rng: random.Random) -> None:
    """Loses lines, doubles some and brings them in another order."""
    lines = path.read_bytes().splitlines(keepends=True)
    chosen = [rng.choice(lines) for _ in lines] if rng.random() < 0.5 else [x for x in lines if rng.random() < 0.7]
    path.write_bytes(b"".join(chosen))


def missing(path: Path, rng: random.Random) -> None:
    path.unlink()


def folder_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path, rng: random.Random) -> None:
    """Whoever opens it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def dead_link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice(("nowhere", path.name, "/proc/self/mem")))


def huge(path: Path, rng: random.Random) -> None:
    """A hole of 8 GB."""
    with path.open("r+b") as file:
        file.truncate(8 << 30)


BYTES: tuple[Callable[[Path, random.Random], None], ...] = (
    empty, truncated, truncated, zeros, flipped, flipped, random_bytes, not_utf8, utf16, byte_order_mark, other_text,
    lines_mixed,
)  # fmt: skip
PLACES: tuple[Callable[[Path, random.Random], None], ...] = (missing, folder_instead, pipe_instead, dead_link)


def small_files(folder: Path) -> list[Path]:
    """Returns the files of a run that aren't arrays, pictures or events."""
    names = (".png", ".npz", ".npy")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.stat().st_size < 100_000
        and path.suffix not in names
        and not {"d", "ocdbt.process_0", "tensorboard"} & set(path.relative_to(folder).parts)
    )


def copy(source: Path, target: Path) -> None:
    """Copies a folder."""
    shutil.copytree(source, target, symlinks=True)
