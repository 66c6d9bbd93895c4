"""JAX's cache of compiled programs, cut short by a kill or a full disk."""

import signal
from pathlib import Path
from typing import Any

import pytest
from harness import start

from fcnn.runtime.compiled import write_whole_programs

PROGRAM = """
import os, sys, warnings
from pathlib import Path
from typing import Any
warnings.simplefilter("error")
from fcnn.runtime.ready import get_ready
get_ready()
import jax
if sys.argv[1] == "kill":
    Path.write_bytes = lambda path, data: (open(path, "wb").write(data[:9]), os.kill(0, 9))
print(jax.jit(lambda x: x + 1)(1))
"""


def test_a_program_that_a_kill_cuts_short_is_not_there(tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    codes, found = [], []
    for what in ("kill", "run", "run"):
        with start("-c", PROGRAM, what, cwd=tmp_path, env=cache, start_new_session=True) as process:
            out, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        found.append({path.name: path.stat().st_size for path in tmp_path.iterdir()})
        assert what == "kill" or out == "2\n", err
    assert codes == [-signal.SIGKILL, 0, 0]
    assert [name.startswith(".fcnn-") for name in found[0]] == [True]
    assert found[1] == found[2]
    assert all(name.endswith("-cache") and size > 100 for name, size in found[1].items())


def test_where_it_can_not_be_written_nothing_is_said(tmp_path, monkeypatch):
    write_whole_programs()
    from jax._src.lru_cache import LRUCache

    def full(*_):
        raise OSError(28, "No space left on device")

    cache: Any = LRUCache(str(tmp_path), max_size=-1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        cache.put("a", b"1")
    assert list(tmp_path.iterdir()) == []
    cache.put("a", b"1")
    cache.put("a", b"2")
    assert cache.get("a") == b"1"
    assert LRUCache.put.__wrapped__ is not None
    write_whole_programs()
    with pytest.raises(AttributeError):
        _ = LRUCache.put.__wrapped__.__wrapped__
