"""Generated command lines, configs, presets, names and run folders whose small files are damaged.

Promise: exit code 0, 1 where it is documented, or 2 with one or two lines; no traceback; an end within a minute, or
within half a minute of SIGTERM; less than MEMORY; nothing written outside of the case's folder, no temporary file left
there, no control character printed.
"""

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _damage import copy, damage, odd_value, small_files
from _judge import judge
from _words import LINES, NAMES, NUMBERS
from _world import FEW, PHOTOS_PRESET, RUNS, commands, options, world

SLOW = ("bench", "plan", "study", "search", "check", "audit")
"""Commands that take long where their options are valid: they are drawn less often."""

Case = tuple[list[str], dict[str, Any]]
"""Arguments of `fcnn`, and what differs in the request to `Forks`."""


# --- words ---

REFUSED = ("--nme", "--help", "--help-all", "-h", "--json", "--config", "--", "-x", "--no-json", "--data", "--train")
PRESETS = ("resnet", "digits_lenet5", "cifar10_resnet20", "mine.py", "nothing", "", "nothing.py")
SHORT = ("--model.name", "linear", "--train.steps", "2", "--train.batch-size", "64")
"""What keeps a training that turns out to be valid short."""


def _word(rng: random.Random, metavar: str) -> list[str]:
    """Returns the value of an option, more often than not of its kind."""
    if metavar.startswith("{"):
        return [rng.choice([*metavar.strip("{}").split(","), *metavar.strip("{}").split(","), rng.choice(NAMES)])]
    numeric = re.match(r"INT|FLOAT|N$|M$|P$|SHARE", metavar) is not None
    pool = (NUMBERS if numeric else NAMES) if rng.random() < 0.85 else (NAMES if numeric else NUMBERS)
    return [rng.choice(pool) for _ in range(2 if "FLOAT FLOAT" in metavar or "..." in metavar else 1)]


# --- the kinds of cases ---


def command_line(rng: random.Random, folder: Path, out: Path) -> Case:
    """Any command with any of its options."""
    command = rng.choice(commands())
    if command in SLOW and rng.random() < 0.7:
        command = rng.choice(("train", "evaluate", "predict", "export", "convert", "compare", "show"))
    known = options(out, command) if command not in ("data", "zoo", "models", "bench") else ()
    words: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        if known and rng.random() < 0.9:
            option, metavar = rng.choice(known)
            words += [option, *(_word(rng, metavar) if metavar else [])]
        else:
            words += [rng.choice(REFUSED)]
    if rng.random() < 0.05 and words:
        words = words[:-1]
    first = _first(rng, command)
    if command in ("train", "check", "search", "plan"):
        short = [x for i in range(0, len(SHORT), 2) if SHORT[i] not in words for x in SHORT[i : i + 2]]
        words = [*short, *words]
    if command in ("bench", "plan", "study", "bench data", "bench photos") or (command in SLOW and rng.random() < 0.8):
        words += [rng.choice(("--nme", "--config", "--seed=x", "--json=3"))]
    return [*command.split(), *first, *words], {}


def _first(rng: random.Random, command: str) -> list[str]:
    """Returns what a command begins with."""
    if rng.random() < 0.1:
        return [rng.choice(NAMES) for _ in range(rng.randrange(3))]
    odd = rng.random() < 0.3
    name = rng.choice(NAMES)
    run = name if odd else rng.choice(("runs/digits", "runs/photos", "runs/auto"))
    image = rng.choice(NAMES) if rng.random() < 0.3 else rng.choice(("photos/ant/0.png", "photos", "photos/*/1.png"))
    match command:
        case "train" | "check" | "search" | "plan":
            return ["--config", rng.choice(("resnet", "resnet", "mine.py", *PRESETS))]
        case "predict":
            return [run, image]
        case "compare":
            return [run, "runs/auto"]
        case "evaluate" | "show" | "export" | "convert":
            return [run]
        case "audit":
            return [rng.choice(NAMES)]
        case "summary":
            return [name if odd else "lenet5"]
        case "data show" | "data prepare":
            return [name if odd else rng.choice(("digits", "folder:photos"))]
        case "study":
            return [rng.choice(("initialization", "transfer", "", *NAMES))]
        case _:
            return []


def on_a_run(rng: random.Random, out: Path, run: str) -> list[str]:
    """Returns a command that reads a run."""
    other = rng.choice(("digits", "photos", "auto"))
    image = "photos/ant/0.png"
    again = [*RUNS[run], "--workdir", f"runs/{run}"]
    return rng.choice(
        (
            ["evaluate", f"runs/{run}"],
            ["evaluate", f"runs/{run}", "--split", "validation", "--json"],
            ["evaluate", f"runs/{run}", "--data.name", "folder:photos" if run == "photos" else "digits"],
            ["predict", f"runs/{run}", image],
            ["predict", f"runs/{run}", image, "--coverage", "0.9", "--json"],
            ["export", f"runs/{run}", "--out", "x.safetensors"],
            ["compare", f"runs/{run}", f"runs/{other}"],
            ["show", f"runs/{run}"],
            again,
            [*again, "--train.eval-batch-size", "32"],
            [
                *again,
                *{"photos": ("--train.steps", "6"), "digits": ("--train.epochs", "4"), "auto": ("--train.steps", "3")}[
                    run
                ],
            ],
            ["train", *FEW, "--transfer.weights", f"runs/{run}", "--model.name", "lenet5", "--workdir", "new"],
        )
    )


def _runs(folder: Path) -> list[str]:
    return [name for name in ("digits", "photos", "auto") if (folder / "runs" / name).is_dir()]


def damaged_run(rng: random.Random, folder: Path, out: Path) -> Case:
    """A run with a file or two damaged, and a command that reads it."""
    run = rng.choice(_runs(folder))
    files = small_files(folder / "runs" / run)
    files = [path for path in files if len(path.relative_to(folder).parts) == 3] * 4 + files
    files += [folder / "runs" / run / name for name in ("held_out.npz", "curves.png")]
    for _ in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice(files)
        if path.is_file() and not path.is_symlink():
            damage(path, rng)
    return on_a_run(rng, out, run), {}


def damaged_search(rng: random.Random, folder: Path, out: Path) -> Case:
    """A search with a file damaged, and the same command again."""
    run = folder / "runs" / "search"
    path = rng.choice([run / "study.db", run / "study.db", *small_files(run)])
    damage(path, rng)
    return [*RUNS["search"], "--workdir", "runs/search"], {}


def damaged_config(rng: random.Random, folder: Path, out: Path) -> Case:
    """A run whose config.json says something else."""
    run = rng.choice(_runs(folder))
    path = folder / "runs" / run / "config.json"
    config = json.loads(path.read_text())
    for _ in range(rng.choice((1, 1, 2, 3))):
        section = rng.choice([*config]) if config else ""
        if isinstance(config.get(section), dict) and config[section] and rng.random() < 0.95:
            config[section][rng.choice([*config[section]])] = odd_value(rng)
        else:
            config[section] = odd_value(rng)
    path.write_text(json.dumps(config), encoding="utf-8", errors="surrogatepass")
    return on_a_run(rng, out, run), {}


def damaged_cache(rng: random.Random, folder: Path, out: Path) -> Case:
    """The caches of scans and pixels, and a set that is prepared, damaged."""
    copy(world(out)[1] / "sets", folder / "sets")
    files = [path for path in (folder / "sets").rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
    ours = [path for path in files if "fcnn-cache" in path.parts]
    for _ in range(rng.choice((1, 1, 3))):
        path = rng.choice(ours if rng.random() < 0.8 else files)
        if path.is_file() and not path.is_symlink():
            damage(path, rng)
    args = rng.choice(
        (
            ["data", "show", "digits"],
            ["data", "show", "folder:photos"],
            ["evaluate", "runs/photos"],
            ["train", "--config", "mine.py", "--train.steps", "2"],
            ["train", "--config", "mine.py", "--data.pipeline", "stream", "--train.steps", "2"],
            ["train", *FEW],
        )
    )
    return args, {"env": {"TFDS_DATA_DIR": str(folder / "sets")}}


def preset_file(rng: random.Random, folder: Path, out: Path) -> Case:
    """A preset that is wrong in one of many ways."""
    lines = rng.sample(LINES, rng.choice((1, 1, 1, 2)))
    head = "from fcnn.config import *\nCONFIG = Config(train=TrainConfig(steps=2), model=ModelConfig(name='linear'))\n"
    (folder / "own.py").write_text(head + "\n".join(lines) + "\n")
    if rng.random() < 0.2:
        damage(folder / "own.py", rng)
    args = rng.choice(
        (
            ["train", "--config", "own.py"],
            ["train", "--config", "own.py", "--train.steps", "2", "--model.name", "linear"],
            ["train", "--config", "own.py", "--help"],
            ["search", "--config", "own.py", "--trials", "0"],
            ["evaluate", "runs/digits", "--config", "own.py"],
            ["predict", "runs/digits", "photos/ant/0.png", "--config", "own.py"],
        )
    )
    return args, {}


WORDS = tuple(name for name in NAMES if name not in ("", ".", "..", "/", "~", "runs", "photos", "mine.py"))


def named_oddly(rng: random.Random, folder: Path, out: Path) -> Case:
    """Folders of runs, of images and of classes with names that nobody expects."""
    name = rng.choice(WORDS)
    what = rng.randrange(7)
    if what == 0:
        return ["train", *FEW, "--workdir", name], {}
    if what == 1:
        return _moved(folder / "runs" / "digits", folder / name, rng.choice((["evaluate"], ["export"], ["show"])), name)
    if what == 2:
        return _moved(
            folder / "photos" / "ant", folder / "photos" / name, ["train", "--config", "mine.py", "--workdir"], "new"
        )
    if what == 3:
        return _moved(folder / "photos", folder / name, ["data", "show"], f"folder:{name}")
    if what == 4:
        args, more = _moved(
            folder / "photos/ant/0.png", folder / "photos/ant" / name, ["predict", "runs/digits"], "photos/ant"
        )
        return [
            *args,
            f"photos/ant/{name}",
            *rng.choice(([], ["--csv", "-"], ["--json"], ["--sort-into", "sorted"])),
        ], more
    if what == 5:
        return _moved(folder / "runs" / "digits", folder / name, ["compare", "runs/auto"], name)
    return ["compare", "runs/digits", "runs/auto", "--out", rng.choice((name, f"{name}.html"))], {}


def _moved(source: Path, target: Path, args: list[str], name: str) -> Case:
    """Renames a file or folder, where the system allows that."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError:
        pass
    return [*args, name], {}


STREAMS = ("closed", "/dev/full", "unread")


def broken_streams(rng: random.Random, folder: Path, out: Path) -> Case:
    """Standard output, error and input that are closed, full, or read by nobody."""
    change: dict[str, Any] = {rng.choice(("out", "out", "err")): rng.choice(STREAMS)}
    if rng.random() < 0.2:
        change |= {"out": rng.choice(STREAMS), "err": rng.choice(STREAMS)}
    if rng.random() < 0.2:
        change["stdin"] = "closed"
    args = rng.choice(
        (
            [], ["--version"], ["models"], ["models", "--json"], ["zoo"], ["nothing"], ["train", "--help"], ["study"],
            ["summary", "lenet5"], ["train", *FEW], ["evaluate", "runs/digits"], ["evaluate", "runs/digits", "--json"],
            ["predict", "runs/photos", "photos/ant"], ["predict", "runs/photos", "photos/ant", "--csv", "-"],
            ["predict", "runs/photos"], ["compare", "runs/digits", "runs/auto"], ["export", "runs/digits"],
            ["data", "show", "digits"], ["show", "runs/photos"], ["train", "--config", "mine.py", "--json"],
            ["convert", "runs/digits"], ["predict", "runs/photos", "-"],
        )
    )  # fmt: skip
    return args, change


KINDS: tuple[tuple[int, Callable[[random.Random, Path, Path], Case]], ...] = (
    (42, command_line), (21, damaged_run), (11, damaged_config), (6, damaged_cache), (8, preset_file), (5, named_oddly),
    (5, broken_streams), (2, damaged_search),
)  # fmt: skip
"""Of a hundred cases, how many are of which kind."""


# --- a case ---


def case(number: int, folder: Path) -> tuple[str, str | None]:
    """Runs a command line; returns it, and which promise was broken."""
    folder, rng = folder.resolve(), random.Random(number)
    forks, base = world(folder.parent)
    copy(base / "runs", folder / "runs")
    copy(base / "photos", folder / "photos")
    (folder / "mine.py").write_text(PHOTOS_PRESET)
    (folder / "tmp").mkdir()
    weights, kinds = zip(*KINDS, strict=True)
    (kind,) = rng.choices(kinds, weights)
    _settle(folder, base)
    args, change = kind(rng, folder, folder.parent)
    request = {
        "args": [_latin(arg) for arg in args],
        "cwd": str(folder),
        "out": f"{folder}.out",
        "err": f"{folder}.err",
    }
    request["inside"] = [str(folder), *(str(base / name) for name in ("home", "cache", "compiled", "sets"))]
    environment = {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home")} | change.pop("env", {})
    answer = forks.run(env=environment, **request | change)
    texts = [Path(f"{folder}.{name}") for name in ("out", "err")]
    outputs = [path.read_bytes() if path.exists() else b"" for path in texts]
    for path in texts:
        path.unlink(missing_ok=True)
    lost = judge(args, answer, *outputs, folder=folder, streams=set(change) & {"out", "err"})
    words = " ".join(arg if len(arg) < 40 else f"{arg[:9]}...({len(arg)})" for arg in args)
    last = outputs[1].decode("utf-8", "replace").strip().rpartition("\n")[2][:150]
    what = f"{kind.__name__}: {words} -> {answer['code']}: {last}"
    return what.encode("ascii", "backslashreplace").decode(), lost


def _settle(folder: Path, base: Path) -> None:
    """Has the runs look for photographs and weights where the case has them."""
    for path in (folder / "runs").glob("*/config.json"):
        path.write_text(path.read_text().replace(str(base), str(folder)))


def _latin(arg: str) -> str:
    return os.fsencode(arg).decode("latin-1")
