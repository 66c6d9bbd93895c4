"""Generated command lines, configs, presets, names and run folders whose small files are damaged.

Promise: exit code 0, 1 where it is documented, or 2 with one or two lines; no traceback; an end within a minute, or
within half a minute of SIGTERM; less than MEMORY; nothing written outside of the case's folder, no temporary file left
there, no control character printed.
"""

import functools
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _damage import VALUES, copy, damage, small_files
from _forks import Forks
from _words import LINES, NAMES, NUMBERS

MEMORY = 4 << 30
MAY_FAIL = ("predict", "check", "train", "search", "convert")
"""Commands whose help documents exit code 1."""
SLOW = ("bench", "plan", "study", "search", "check", "audit")
"""Commands that take long where their options are valid: they are drawn less often."""

Case = tuple[list[str], dict[str, Any]]
"""Arguments of `fcnn`, and what differs in the request to `Forks`."""


# --- what every case has: finished runs, photographs, a set that is prepared ---

PHOTOS_PRESET = (
    "from fcnn.config import Config, DataConfig, ModelConfig, TrainConfig\n"
    "CONFIG = Config(data=DataConfig(name='folder:photos', image_size=16), model=ModelConfig(name='lenet5'),\n"
    "                train=TrainConfig(steps=4, eval_steps=2, batch_size=8))\n"
)
DIGITS = ("--config", "resnet", "--model.name", "lenet5", "--train.batch-size", "128")
FEW = (*DIGITS, "--train.steps", "2")
RUNS: dict[str, tuple[str, ...]] = {
    "digits": ("train", *DIGITS, "--train.epochs", "3", "--train.ema-decay", "0.9"),
    "photos": ("train", "--config", "mine.py"),
    "auto": ("train", *FEW, "--transfer.weights", "runs/digits", "--transfer.strategy", "auto"),
    "search": ("search", "--config", "resnet", "--model.name", "linear", "--train.steps", "2", "--trials", "1"),
}
"""Their command lines, without --workdir."""


@functools.cache
def world(out: Path) -> tuple[Forks, Path]:
    """Makes them once, below a folder; returns the server that runs commands and where they are."""
    base = out / "commands-world"
    places = {
        "HOME": base / "home",
        "XDG_CACHE_HOME": base / "cache",
        "TFDS_DATA_DIR": base / "sets",
        "JAX_COMPILATION_CACHE_DIR": base / "compiled",
        "TMPDIR": base / "tmp",
    }
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # there is no network
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    forks = Forks(environment | {"JAX_PLATFORMS": "cpu"} | {name: str(path) for name, path in places.items()} | proxies)
    if (base / "done").exists():
        return forks, base
    shutil.rmtree(base, ignore_errors=True)
    for path in places.values():
        path.mkdir(parents=True)
    _photographs(base / "photos")
    (base / "mine.py").write_text(PHOTOS_PRESET)
    (base / "runs").mkdir()
    for name, args in RUNS.items():
        request = {"cwd": str(base), "out": str(base / "out"), "err": str(base / "err"), "inside": [str(base)]}
        answer = forks.run(args=[*args, "--workdir", f"runs/{name}"], **request)
        assert answer["code"] == 0, (name, answer, (base / "err").read_text())
    (base / "done").touch()
    return forks, base


def _photographs(folder: Path) -> None:
    from PIL import Image

    rng = random.Random(0)
    for name in ("ant", "bee", "cow"):
        (folder / name).mkdir(parents=True)
        for number in range(14):
            image = Image.frombytes("RGB", (20, 18), rng.randbytes(20 * 18 * 3))
            image.save(folder / name / f"{number}.png")


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


@functools.cache
def options(out: Path, command: str) -> tuple[tuple[str, str], ...]:
    """Returns every option of a command with its metavar, as its --help-all prints them."""
    forks, base = world(out)
    preset = ["--config", "resnet"] if command in ("train", "check", "search", "plan") else []
    request = {"cwd": str(base), "out": str(base / "help"), "err": str(base / "err"), "inside": [str(base)]}
    answer = forks.run(args=[*command.split(), *preset, "--help-all"], env={"COLUMNS": "200"}, **request)
    assert answer["code"] == 0, (command, answer, (base / "err").read_text())
    text = (base / "help").read_text().replace("│", " ")
    found = re.findall(
        r"^\s+(?:-h, )?(--[\w.-]+)(?:, --[\w.-]+)* *(\{[^}]*\}|[A-Z{][^ ]*(?: FLOAT| \.\.\.)*)?", text, re.MULTILINE
    )
    return tuple(found)


def commands() -> list[str]:
    """Returns the names of all commands, with their kinds."""
    from fcnn.cli import COMMANDS

    return [*COMMANDS, "data show", "data prepare", "bench data", "bench photos"]


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
            config[section][rng.choice([*config[section]])] = rng.choice(VALUES)
        else:
            config[section] = rng.choice(VALUES)
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
