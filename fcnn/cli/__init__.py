"""The `fcnn` command: the only package that knows tyro, a file for each command.

Mistakes of the user are reported before jax is imported, in a line or two, with exit code 2.
"""

import errno
import io
import sys
from collections.abc import Callable, Sequence

from fcnn import __version__
from fcnn.cli.audit import audit_command
from fcnn.cli.bench import bench_command
from fcnn.cli.check import check_command
from fcnn.cli.compare import compare_command
from fcnn.cli.completion import completion_command
from fcnn.cli.data import data_command
from fcnn.cli.doctor import doctor_command
from fcnn.cli.evaluate import evaluate_command
from fcnn.cli.export import export_command
from fcnn.cli.models import models_command, summary_command
from fcnn.cli.plan import plan_command
from fcnn.cli.predict import predict_command
from fcnn.cli.search import search_command
from fcnn.cli.show import show_command
from fcnn.cli.study import study_command
from fcnn.cli.train import train_command
from fcnn.cli.weights import convert_command
from fcnn.cli.zoo import zoo_command
from fcnn.runtime.signals import Interrupt, Stopped
from fcnn.runtime.streams import EXIT_CODE, FULL, LEFT, open_closed, silence_full, silence_lost
from fcnn.utils.errors import UserError, unknown
from fcnn.utils.text import printable, printable_lines, shortened

COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train from a preset or on your photos: fcnn train --config resnet, fcnn train PHOTOS"),
    "audit": (audit_command, "find wrong labels, duplicates and bad photos in a folder: fcnn audit PHOTOS"),
    "check": (check_command, "check for silent bugs before training: fcnn check --config resnet"),
    "search": (search_command, "search for hyperparameters: fcnn search --config resnet"),
    "evaluate": (evaluate_command, "evaluate a run: fcnn evaluate runs/resnet-001"),
    "predict": (predict_command, "classify images: fcnn predict runs/resnet-001 IMAGE..."),
    "show": (show_command, "visualize a trained network (filters, Grad-CAM, mistakes): fcnn show runs/resnet-001"),
    "compare": (compare_command, "compare runs on one page: fcnn compare runs/a runs/b"),
    "export": (export_command, "export a run to PyTorch, ONNX, HTML or StableHLO: fcnn export runs/resnet-001"),
    "convert": (convert_command, "convert weights from PyTorch, torchvision or timm: fcnn convert FILE --model NAME"),
    "zoo": (zoo_command, "list the pretrained networks"),
    "models": (models_command, "list the architectures"),
    "summary": (summary_command, "print an architecture layer by layer: fcnn summary resnet18"),
    "data": (data_command, "describe, draw or prepare a data set: fcnn data show digits"),
    "study": (study_command, "test a classic claim with a small experiment: fcnn study initialization"),
    "bench": (bench_command, "measure the speed of a step or of the input pipeline: fcnn bench step, fcnn bench data"),
    "doctor": (doctor_command, "print system information for bug reports and check the installation"),
    "completion": (completion_command, "print a script for completion in bash, zsh or fish: fcnn completion bash"),
    "plan": (plan_command, "compile a preset for a TPU, without a TPU: fcnn plan --config NAME --target v5e:2x4"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 invalid arguments or input, 128 + N stopped by
    signal N."""
    open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be what a terminal's encoding can't write
            stream.reconfigure(errors="backslashreplace")
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with Interrupt():
            try:
                return _run(args)
            finally:
                sys.stdout.flush()
    except Stopped as stop:
        return stop.exit_code
    except OSError as error:
        if error.errno in LEFT and silence_lost():
            return getattr(error.__context__, "exit_code", EXIT_CODE)
        if error.errno not in (*FULL, errno.EIO):
            raise
        place = "standard output: " if silence_full() else ""
        print(f"fcnn: {place}{error.strerror}", file=sys.stderr)
        return 2


def _run(args: list[str]) -> int:
    command = args[0] if args else "--help"
    try:
        if command in ("-h", "--help"):
            print("usage: fcnn COMMAND [options]\n")
            print("\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()))
            print("\nfcnn COMMAND --help shows the most common options of a command, --help-all shows all.")
            print("Exit codes: 0 done, 1 failed, 2 invalid arguments or input, 128 + N stopped by signal N.")
            return 0
        if command == "--version":
            print(f"fcnn {__version__}")
            return 0
        if command not in COMMANDS:
            raise UserError(unknown("command", command, COMMANDS))
        return COMMANDS[command][0](args[1:])
    except UserError as error:
        print(f"fcnn: {shortened(printable_lines(str(error)))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.strerror is None or (error.errno in (*LEFT, *FULL) and not error.filename):
            raise  # of a stream, perhaps: main's
        place = f"{printable(str(error.filename))}: " if error.filename else ""
        print(f"fcnn: {place}{error.strerror}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        print("fcnn: the system starts no more threads; raise the limit on processes (ulimit -u)", file=sys.stderr)
        return 2
