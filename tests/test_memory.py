"""Memory that was given back is used again."""

import platform

import pytest
from harness import start

from fcnn import memory

PROGRAM = """
import resource
from fcnn.memory import keep_memory
keep_memory()
import jax
import jax.numpy as jnp
x = jnp.ones(4096)
step = jax.jit(lambda x: jax.lax.optimization_barrier(x[:, None] * x).sum())
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(6)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep memory")
def test_a_program_that_runs_again_gets_its_memory_without_new_pages(tmp_path):
    process = start("-c", PROGRAM, cwd=tmp_path, env={"JAX_PLATFORMS": "cpu"})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert int(out) < 100  # of 4 KiB; its 64 MiB are 16,384 of them


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
