"""oneDNN under conditions that a model doesn't make: several threads, mistakes, and no library."""

import json
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import start

from fcnn.nn import conv_general_dilated, cpu_convolutions
from fcnn.nn.onednn import handler
from fcnn.nn.onednn.convolution_plan import Geometry, convolution_plan
from fcnn.nn.onednn.library import Failed

needs_onednn = pytest.mark.skipif(not cpu_convolutions().startswith("oneDNN"), reason=cpu_convolutions())
OPTIONS = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def gradients(x, w):
    return jax.value_and_grad(lambda x, w: (conv_general_dilated(x, w, **OPTIONS) ** 2).sum(), (0, 1))(x, w)


def at_once(*calls):
    """Runs functions in threads of their own that start together; their results, or the first one's error."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(i, call):
        barrier.wait()
        results[i] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@needs_onednn
@pytest.mark.parametrize("programs", [1, 2])
def test_two_threads_may_compute_the_same_shape(programs):
    """With memory shared between two calls, this went wrong in nearly every round."""
    key = jax.random.key(0)
    x, w = jax.random.normal(key, (32, 16, 16, 48)), jax.random.normal(key, (3, 3, 48, 32))
    inputs = [(x * (i + 1), w - i) for i in range(4)]
    compiled = [jax.jit(lambda x, w, i=i: gradients(x, w + 0 * i)).lower(x, w).compile() for i in range(programs)]
    expected = [compiled[0](*pair) for pair in inputs]

    def repeat(i):
        return [compiled[i % programs](*inputs[i]) for _ in range(8)]

    for i, repeated in enumerate(at_once(*(lambda i=i: repeat(i) for i in range(4)))):
        for once in repeated:  # oneDNN adds up in the same order every time
            jax.tree.map(np.testing.assert_array_equal, once, expected[i])


@needs_onednn
def test_other_python_threads_run_meanwhile():
    x, w = jnp.ones((64, 32, 32, 64)), jnp.ones((3, 3, 64, 64))
    step = jax.jit(gradients).lower(x, w).compile()
    jax.block_until_ready(step(x, w))
    done, longest = threading.Event(), 0.0

    def watch():
        nonlocal longest
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    began = time.perf_counter()
    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        jax.block_until_ready(step(x, w))
    done.set()
    watcher.join()
    assert longest < (time.perf_counter() - began) / 10


@needs_onednn
def test_a_mistake_in_the_handler_is_an_error_of_the_program():
    x = jnp.ones((1, 4, 4, 1))
    kinds = (jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct((64,), jnp.uint8))
    call = jax.ffi.ffi_call(handler.TARGET, kinds)
    with pytest.raises(jax.errors.JaxRuntimeError, match="JSONDecodeError"):
        jax.block_until_ready(call(x, x, plan="nonsense"))


@needs_onednn
def test_a_plan_is_found_again_from_its_text():
    """A compiled program from a cache on disk may run in a process that has never lowered it."""
    x, w = jnp.full((2, 5, 5, 3), 2.0), jnp.ones((3, 3, 3, 4))
    compiled = jax.jit(gradients).lower(x, w).compile()
    expected = compiled(x, w)
    handler._calls.clear()
    convolution_plan.cache_clear()
    jax.tree.map(np.testing.assert_array_equal, compiled(x, w), expected)


@needs_onednn
def test_a_shape_without_an_implementation_is_refused():
    same = ((1, 8, 8, 4), (3, 3, 4, 4), (1, 8, 8, 4))
    with pytest.raises(Failed):
        convolution_plan("y", Geometry(*same, (1, 1), ((0, 0), (0, 0)), (1, 1), 1))  # that output needs padding


PROGRAM = """
    import json, sys
    import jax, jax.numpy as jnp
    from fcnn.nn import conv_general_dilated, cpu_convolutions
    same = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    x, w = jnp.arange(600.0).reshape(2, 10, 10, 3) / 600, jnp.arange(108.0).reshape(3, 3, 3, 4) / 108
    step = jax.jit(jax.grad(lambda w: (conv_general_dilated(x, w, **same) ** 2).sum()))
    print(json.dumps([cpu_convolutions(), step.lower(w).as_text().count("custom_call"), step(w).ravel().tolist()]))
"""
HIDDEN = "import importlib.metadata; importlib.metadata.files = lambda name: None"
BROKEN = "import ctypes; ctypes.PyDLL = lambda path: (_ for _ in ()).throw(OSError('libgomp.so.1: cannot open'))"
NEWER = "import fcnn.nn.onednn.handler as handler; handler._VERSIONS.clear()"


@needs_onednn
@pytest.mark.parametrize(
    ("before", "variable", "reason", "notices"),
    [
        ("", "onednn", "oneDNN 3", 0),
        ("", "lax", "XLA (FCNN_CPU_CONV=lax)", 0),
        (HIDDEN, "onednn", "XLA (the package onednn-cpu-gomp holds no libdnnl.so.3)", 1),
        (BROKEN, "onednn", "XLA (oneDNN can't be loaded: libgomp.so.1: cannot open)", 1),
        (NEWER, "onednn", "XLA (XLA doesn't take oneDNN's handler: ", 1),
    ],
    ids=["here", "switched off", "hidden", "broken", "newer"],
)
def test_without_it_xla_gives_the_same_results_and_one_line_tells(tmp_path, before, variable, reason, notices):
    source = before + "\n" + textwrap.dedent(PROGRAM)
    with start("-c", source, cwd=tmp_path, env={"FCNN_CPU_CONV": variable}) as process:
        out, err = process.communicate(timeout=300)
    used, calls, numbers = json.loads(out)
    assert used.startswith(reason)
    assert (calls > 0) == (variable == "onednn" and not before)
    assert err.count("\n") == err.count("fcnn: XLA computes convolutions") == notices, err
    x, w = jnp.arange(600.0).reshape(2, 10, 10, 3) / 600, jnp.arange(108.0).reshape(3, 3, 3, 4) / 108
    np.testing.assert_allclose(numbers, gradients(x, w)[1][1].ravel(), rtol=1e-4)


LEAVING = """
    import jax, jax.numpy as jnp
    from fcnn.nn import conv_general_dilated
    same = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    x, w = jnp.ones((64, 32, 32, 64)), jnp.ones((3, 3, 64, 64))
    step = jax.jit(lambda x: conv_general_dilated(x, w, **same) * 1e-3)
    for _ in range(20):
        x = step(x)
"""


@needs_onednn
@pytest.mark.parametrize("last", ["pass", "del x"])
def test_leaving_python_while_a_program_runs_is_quiet(tmp_path, last):
    """It hung for ever at first."""
    with start("-c", textwrap.dedent(LEAVING) + last, cwd=tmp_path) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


@needs_onednn
@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this kernel has no large pages")
def test_what_a_call_writes_may_lie_in_large_pages():
    """The kernel keeps a flag for each stretch of memory, "hg" where it was asked for them."""
    x, w = jnp.ones((32, 64, 64, 8)), jnp.ones((3, 3, 8, 64))
    y = jax.block_until_ready(jax.jit(lambda x, w: conv_general_dilated(x, w, **OPTIONS))(x, w))
    address = y.unsafe_buffer_pointer()
    for at in (address, address + y.nbytes - 1):
        assert "hg" in flags_of_memory(at)
    assert "hg" not in flags_of_memory(id(None))


def flags_of_memory(address: int) -> list[str]:
    """What Linux tells of the stretch of this process's memory in which an address lies (proc(5), VmFlags)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(end, 16) for end in first.split("-"))
            inside = low <= address < high
        elif inside and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("no memory of this process's")
