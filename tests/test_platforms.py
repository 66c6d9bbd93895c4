"""Other systems than Linux, simulated by taking away what they don't have: modules, and functions of `os`."""

import ast
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import start

from fcnn.config import DataConfig
from fcnn.data import load
from fcnn.data.cache import cached_arrays
from fcnn.nn.onednn import one_thread
from fcnn.utils.errors import UserError

PACKAGE = Path(__file__).parent.parent / "fcnn"
UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}

# What Windows doesn't have, or macOS doesn't. `select` and the rest are imported by the libraries, not by us.
WITHOUT = f"""
import os, signal, sys
del signal.SIGHUP
for name in {sorted(UNIX - {"posix"})}:
    sys.modules[name] = None
for name in ("fork", "getuid", "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "setsid", "sysconf"):
    delattr(os, name)
"""
RUN = """
import contextlib
from pathlib import Path
from fcnn.cli import main
assert main(["--help"]) == 0
from fcnn.training import workdir
from fcnn.config import Config
from fcnn.utils.errors import UserError
with workdir.claim(Path("run"), Config()):
    try:
        with workdir.claim(Path("run"), Config()):
            raise SystemExit("claimed twice")
    except UserError as error:
        assert "another run is writing to run" in str(error), error
with workdir.claim(Path("run"), Config()):  # free again
    pass
"""


def parsed():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def test_no_module_of_unix_is_needed_to_import_a_file():
    found = {}
    for path, tree in parsed():
        for node in tree.body:  # what a function imports is its own affair
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
            found |= {f"{path.name}: {name}": node.lineno for name in names if name in UNIX}
    assert not found


def test_text_files_have_the_same_encoding_everywhere():
    """Windows takes its own code page for `open` and `read_text` without one."""
    found = []
    for path, tree in parsed():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            others = getattr(getattr(call.func, "value", None), "id", "") in ("Image", "os", "tarfile")
            modes = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
            text = name in ("read_text", "write_text") or (name == "open" and not any("b" in mode for mode in modes))
            if text and not others and "encoding" not in {keyword.arg for keyword in call.keywords}:
                found.append(f"{path.relative_to(PACKAGE)}:{call.lineno}")
    assert found == []


def test_the_command_line_and_the_lock_work_without_what_other_systems_lack(tmp_path):
    with start("-c", WITHOUT + RUN, cwd=tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "usage: fcnn" in out


def test_a_cache_file_has_its_room_without_posix_fallocate(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.delattr(os, "posix_fallocate")

    def fill(out):
        assert Path(out.filename).stat().st_blocks * 512 >= out.nbytes > 0
        out["image"] = 7

    found = cached_arrays("x", 1, 7000, (40, 40, 1), fill)
    assert isinstance(found, np.memmap)
    assert (found["image"] == 7).all()


def test_onednns_thread_needs_no_fork(monkeypatch):
    """Windows has none, and imports the file."""
    monkeypatch.delattr(os, "register_at_fork")
    runpy.run_path(one_thread.__file__)


def test_a_set_in_array_record_is_refused_in_a_line_where_that_has_no_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    with pytest.raises(UserError, match=r"digits needs the package array-record.*folder:PATH"):
        load(DataConfig())
