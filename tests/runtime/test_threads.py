"""On two cores XLA's pool leaves oneDNN's threads awake."""

import os

import pytest
from harness import start

from fcnn.runtime import memory, threads

PROGRAM = """
from pathlib import Path
from fcnn.runtime.threads import one_pool_thread
one_pool_thread()
import jax
jax.devices()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(names.count("tf_XLAEigen"))
"""


@pytest.mark.skipif(
    threads.cores() != 2 or threads.cpu_convolutions()[:3] == "XLA",
    reason="the pool is cut where there are two cores and oneDNN",
)
@pytest.mark.parametrize(("environment", "expected"), [({}, 1), ({"NPROC": "2"}, 2), ({"FCNN_CPU_CONV": "lax"}, 2)])
def test_the_pool_has_one_thread_unless_told_otherwise(environment, expected, tmp_path, monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    process = start("-c", PROGRAM, cwd=tmp_path, env={"JAX_PLATFORMS": "cpu"} | environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert int(out) == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, None), (2, "1"), (3, None), (64, None)])
def test_more_cores_keep_their_pool(cores, expected, monkeypatch):
    monkeypatch.setenv("NPROC", "")  # so that it is put back afterwards, whatever is set here
    monkeypatch.delenv("NPROC")
    monkeypatch.setattr(memory, "cpu_only", lambda: True)
    monkeypatch.setattr(threads, "cpu_convolutions", lambda: "oneDNN 3.2.0")
    monkeypatch.setattr(threads, "cores", lambda: cores)
    threads.one_pool_thread()
    assert os.environ.get("NPROC") == expected
