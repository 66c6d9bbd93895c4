"""Runs a campaign: many seeded cases that try to break fcnn, each in a folder of its own.

    python tests/campaigns NAME --cases 200 --out DIR

NAME is a module beside this one with a function `case(number, folder)`. It does what its number, the seed, says, in
an empty folder, and returns what it did and what was lost: None if every promise held. Each case becomes a line of
DIR/NAME.jsonl as it ends, so the same command resumes where it was interrupted; the folder of a case that lost
something is kept. Tests beside it run a few cases of each.
"""

import argparse
import importlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

Case = Callable[[int, Path], tuple[str, str | None]]
HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("[!_]*.py") if not path.stem.startswith("test_"))


def run_cases(name: str, case: Case, numbers: range, out: Path) -> list[dict]:
    """Runs the cases that are not on record, and returns the records of all."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jsonl"
    done = {r["case"]: r for r in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    for number in numbers:
        if number in done:
            continue
        folder = out / f"{name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        start = time.monotonic()
        try:
            what, lost = case(number, folder)
        except Exception:  # the campaign's own mistake: it is on record, and the next case has its turn
            what, lost = "the campaign", traceback.format_exc()
        done[number] = {"case": number, "what": what, "lost": lost, "seconds": round(time.monotonic() - start, 1)}
        with path.open("a") as file:
            file.write(json.dumps(done[number]) + "\n")
        if lost is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"{name} {number}: {what}: {lost}", flush=True)
    return [done[number] for number in numbers]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/campaigns", description="Runs many seeded cases that try to break fcnn."
    )
    parser.add_argument("name", choices=names())
    parser.add_argument("--cases", type=int, default=100, help="how many cases")
    parser.add_argument("--start", type=int, default=0, help="number of the first case, which is its seed")
    parser.add_argument("--out", type=Path, default=Path("campaigns"), help="folder of the records")
    args = parser.parse_args()
    sys.path.insert(1, str(HERE.parent))
    case = importlib.import_module(args.name).case
    records = run_cases(args.name, case, range(args.start, args.start + args.cases), args.out)
    lost = sum(r["lost"] is not None for r in records)
    print(f"{args.name}: {len(records):,} cases, {lost} lost something")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
