"""Which promise a command has broken."""

import json
import re
import sys
from pathlib import Path
from typing import Any

MEMORY = 4 << 30
MAY_FAIL = ("predict", "check", "train", "search", "convert")
"""Commands whose help documents exit code 1."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LEFT = re.compile(r"\.tmp$|^\..*-[0-9a-f]{8}$|orbax-checkpoint-tmp|^incomplete\.")


def judge(
    args: list[str], answer: dict[str, Any], out: bytes, err: bytes, *, folder: Path, streams: set[str]
) -> str | None:
    """Returns which promise a case broke; None if it kept them all."""
    text, said = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    codes = {
        0,
        2,
        *({1} if args and args[0] in MAY_FAIL else ()),
        *({141} if streams else ()),
        *({143} if answer["late"] else ()),
    }
    problem = re.search(r"^(Traceback|Exception ignored|Fatal|Segmentation|.*Warning: ).*$", said + text, re.MULTILINE)
    message = re.split(r"^fcnn: ", said, flags=re.MULTILINE)[-1].strip().splitlines()
    left = [path.name for path in folder.rglob("*") if LEFT.search(path.name)]
    checks = (
        (answer["hung"], f"hung for {answer['seconds']} s"),
        (problem is not None, f"{problem and problem[0]}: {said.strip().splitlines()[-1:]}"),
        (answer["code"] not in codes, f"exit code {answer['code']}: {said[-300:]!r}"),
        (answer["peak"] > MEMORY, f"{answer['peak'] / 2**30:.1f} GiB"),
        (bool(answer["outside"]), f"wrote outside: {answer['outside'][:3]}"),
        (bool(left), f"left behind: {left[:3]}"),
        (answer["code"] == 2 and not streams and not said.strip(), "a refusal without a word"),
        (answer["code"] == 2 and not streams and not 1 <= len(message) <= 2, f"{len(message)} lines: {message[:3]}"),
        (
            CONTROL.search(said) is not None or CONTROL.search(text) is not None,
            f"control characters: {said[-300:]!r} {text[-300:]!r}",
        ),
        (
            "--json" in args and "--no-json" not in args and answer["code"] == 0 and not streams and not _is_json(text),
            f"no JSON: {text[:200]!r}",
        ),
    )
    return next((f"{reason}"[:600] for broken, reason in checks if broken), None)


def _is_json(text: str) -> bool:
    if text.startswith("usage:"):
        return True
    try:
        json.loads(text, parse_constant=lambda name: sys.exit(name))
    except (ValueError, SystemExit):
        return False
    return True
