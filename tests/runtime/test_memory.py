"""Memory that was given back is used again."""

import platform
from types import SimpleNamespace

import pytest
from harness import start

from fcnn.runtime import memory

PROGRAM = """
import resource
from fcnn.runtime.memory import keep_memory
keep_memory()
import jax
import jax.numpy as jnp
x = jnp.ones(4096)
step = jax.jit(lambda x: jax.lax.optimization_barrier(x[:, None] * x) @ x)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(12)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep memory")
def test_a_program_that_runs_again_gets_its_memory_without_new_pages(tmp_path):
    process = start("-c", PROGRAM, cwd=tmp_path, env={"JAX_PLATFORMS": "cpu"})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert int(out) < 100  # of 4 KiB; its 64 MiB are 16,384 of them


@pytest.mark.parametrize(
    ("size", "resident", "expected"),
    [
        (200 << 20, [500, 400, 450, 500, 550], [0]),  # what compilation left, and half of 200 and the slack above 400
        (200 << 20, [500, 400, 600, 420, 500], [0, 2]),
        (2 << 30, [500, 400, 500], [0, 1, 2]),  # much: each time
    ],
)
def test_what_grows_is_given_back(size, resident, expected, monkeypatch):
    trimmed, run = [], 0
    monkeypatch.setattr(memory, "_libc", SimpleNamespace(malloc_trim=lambda _: trimmed.append(run)))
    monkeypatch.setattr(memory, "_resident", lambda: resident[run] << 20)
    kept = memory.StepMemory(size)
    while run < len(resident):
        kept.between_runs()
        run += 1
    assert trimmed == expected


@pytest.mark.parametrize(
    ("platforms", "plugins", "libtpu", "expected"),
    [
        ("", [], None, True),
        ("cpu", ["cuda"], "libtpu", True),
        ("cuda", [], None, False),
        ("", ["cuda"], None, False),
        ("", [], "libtpu", False),
    ],
)
def test_only_where_jax_computes_on_the_cpu(monkeypatch, platforms, plugins, libtpu, expected):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(memory.importlib.metadata, "entry_points", lambda group: plugins)
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: libtpu)
    assert memory.cpu_only() is expected
