"""`fcnn train` that writes down, beside its workdir, what the process uses at each record."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fcnn import cli
from fcnn.training import trainer


def _watched(workdir: Path) -> Any:
    """Returns a callback that writes down what the process uses."""
    log = workdir.with_suffix(".watched").open("w")

    def watch(record: dict[str, Any]) -> None:
        if record["kind"] != "steps":
            return
        row = {
            "step": record["step"],
            "time": time.process_time(),
            "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
            "files": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "checkpoints": len(os.listdir(workdir / "checkpoints")),
        }
        log.write(json.dumps(row) + "\n")
        log.flush()

    return watch


def main() -> int:
    train, watch = trainer.train, _watched(Path(sys.argv[-1]))

    def watched(*args: Any, **options: Any) -> Any:
        return train(*args, **options | {"callbacks": [watch]})

    trainer.train = watched
    return cli.main(["train", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
