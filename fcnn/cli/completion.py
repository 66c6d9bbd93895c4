"""`fcnn completion`: a script, written by tyro, by which a shell completes commands, options and names."""

import contextlib
import dataclasses
import functools
import io
import operator
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro

from fcnn import registry
from fcnn.cli.audit import AuditArgs
from fcnn.cli.bench import BenchArgs
from fcnn.cli.bench_data import BenchDataArgs
from fcnn.cli.bench_photos import BenchPhotosArgs
from fcnn.cli.bench_predict import BenchPredictArgs
from fcnn.cli.check import CheckArgs
from fcnn.cli.compare import CompareArgs
from fcnn.cli.data import PrepareArgs
from fcnn.cli.data import ShowArgs as DataShowArgs
from fcnn.cli.doctor import DoctorArgs
from fcnn.cli.evaluate import EvaluateArgs
from fcnn.cli.export import ExportArgs
from fcnn.cli.models import ModelsArgs
from fcnn.cli.parse import help_type, parse
from fcnn.cli.plan import PlanArgs
from fcnn.cli.predict import PredictArgs
from fcnn.cli.search import SearchArgs
from fcnn.cli.show import ShowArgs
from fcnn.cli.train_args import TrainArgs
from fcnn.cli.weights import ConvertArgs
from fcnn.cli.zoo import ZooArgs
from fcnn.config import names, presets


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionArgs:
    """Print a script that completes commands, options and names in a shell. docs/install.md says where to save it."""

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional, tyro.conf.arg(metavar="SHELL")]
    """bash, zsh or fish."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoArgs:
    """No options."""


Commands = Mapping[str, "type | Commands"]

COMMANDS: Commands = {
    "train": TrainArgs,
    "audit": AuditArgs,
    "check": CheckArgs,
    "search": SearchArgs,
    "evaluate": EvaluateArgs,
    "predict": PredictArgs,
    "show": ShowArgs,
    "compare": CompareArgs,
    "export": ExportArgs,
    "convert": ConvertArgs,
    "zoo": ZooArgs,
    "models": ModelsArgs,
    "summary": dict.fromkeys(registry.MODELS, NoArgs),
    "data": {"show": DataShowArgs, "prepare": PrepareArgs},
    "study": dict.fromkeys(registry.STUDIES, NoArgs),
    "bench": {
        **dict.fromkeys(("step", "eval", "all"), BenchArgs),
        "predict": BenchPredictArgs,
        "data": BenchDataArgs,
        "photos": BenchPhotosArgs,
    },
    "doctor": DoctorArgs,
    "completion": dict.fromkeys(("bash", "zsh", "fish"), NoArgs),
    "plan": PlanArgs,
}
"""The options of each command, or of each word that may follow it; there isn't room for those behind a long list."""

CHOICES = {
    "preset": presets.names(),
    "model": tuple(registry.MODELS),
    "model.name": tuple(registry.MODELS),
    "data.name": names.DATASETS,
    "optim.name": tuple(names.OPTIMIZERS),
    "optim.schedule": tuple(names.SCHEDULES),
    "transfer.strategy": names.STRATEGIES,
}
"""Names that an option takes; it may take others as well, such as files."""

DEFAULTS = re.compile(r", '(cascade': False|nargs': (1|None)|subcommands': {}|frontier_groups': \[\])")
"""What tyro's script writes and takes for granted: without it, fish can pass the rest on, in one argument of at most
128 KiB."""

# tyro completes no arguments without an option, such as a run's folder: the shell completes files there.
BASH = """
_fcnn() {
  _tyro_fcnn
  [ -n "${COMPREPLY[0]}" ] || COMPREPLY=()
}
complete -o default -F _fcnn fcnn
"""
ZSH = """
_fcnn() {
  _tyro_fcnn "$@"
  (( compstate[nmatches] )) || _files
}
if [[ $funcstack[1] == _fcnn ]]; then _fcnn "$@"; else compdef _fcnn fcnn; fi
"""
FISH = "complete --force-files --command fcnn\n"


def completion_command(args: list[str]) -> int:
    """`fcnn completion bash|zsh|fish`."""
    parsed = parse(CompletionArgs, args, "fcnn completion")
    print(script(parsed.shell))
    return 0


def script(shell: str) -> str:
    """Return a shell's script, to be read by that shell."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        tyro.cli(_union(COMMANDS), args=["--tyro-print-completion", shell], prog="fcnn")
    text = DEFAULTS.sub("", out.getvalue())
    if shell == "zsh":  # in the end tyro's would run when it is read, which is right in a file of $fpath only
        text = text.rstrip().removesuffix('_tyro_fcnn "$@"')
    return text + {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]


def _union(commands: Commands) -> Any:
    """Return the type of which tyro makes subcommands."""
    kinds = []
    for name, kind in commands.items():
        inner = help_type(kind, None, whole=True, choices=CHOICES) if isinstance(kind, type) else _union(kind)
        kinds.append(Annotated[inner, tyro.conf.subcommand(name)])
    return functools.reduce(operator.or_, kinds)
