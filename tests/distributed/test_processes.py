"""Processes on loopback train as one: the same numbers, one checkpoint, one end. Real processes, real signals."""

import contextlib
import fcntl
import json
import random
import signal
import socket
import time

import chex
import numpy as np
import pytest
from equivalence import error
from finals import final_state, last_step
from harness import ROOT, comparable, start

STEPS = 60
OPTIONS = (
    "--config resnet --model.name mlp --model.dropout 0.2 --augment.flip --data.pipeline stream --train.batch-size 32 "
    f"--train.eval-steps 20 --train.log-steps 1 --train.steps {STEPS} --workdir"
).split()


def devices(count):
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"}


def free_port():
    """One of the last 4,096."""
    for port in random.sample(range(61440, 65536), 4096):
        with contextlib.suppress(OSError), socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def by_address(port, count, i):
    """What tells a process where the others are: arguments, and the environment."""
    peers = ("--coordinator", f"127.0.0.1:{port}", "--num-processes", str(count), "--process-id", str(i))
    return peers, {}


# JAX takes the port from the job's number: the last 4,096 ports, in the order of the numbers.
def by_slurm(port, count, i):
    job = {"SLURM_JOB_ID": str(port - 61440), "SLURM_STEP_NODELIST": "localhost"}
    return (), job | {"SLURM_NTASKS": str(count), "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}


def by_open_mpi(port, count, i):
    job = {"OMPI_MCA_orte_hnp_uri": f"{(port - 61440) * 4096}.0;tcp://127.0.0.1:1"}
    ranks = {"OMPI_COMM_WORLD_RANK": str(i), "OMPI_COMM_WORLD_LOCAL_RANK": str(i)}
    return (), job | ranks | {"OMPI_COMM_WORLD_SIZE": str(count)}


@contextlib.contextmanager
def train(workdir, processes, each, *more, meet=by_address):
    """The processes of one run, each with so many devices; none outlives the context."""
    port, running = free_port(), []
    with contextlib.ExitStack() as stack:
        for i in range(processes):
            peers, env = meet(port, processes, i) if processes > 1 else ((), {})
            together = ("--distributed", *peers) if processes > 1 else ()
            arguments = ("-m", "fcnn", "train", *OPTIONS, workdir.name, *together, *more)
            process = stack.enter_context(start(*arguments, cwd=workdir.parent, env=devices(each) | env))
            stack.callback(process.kill)
            running.append(process)
        yield running


def finished(running, timeout=300):
    """(exit code, standard output, standard error) of each."""
    ends = [process.communicate(timeout=timeout) for process in running]
    return [(process.returncode, *end) for process, end in zip(running, ends, strict=True)]


def wait_for_step(workdir, step, running):
    began = time.monotonic()
    while last_step(workdir) < step:
        assert time.monotonic() - began < 300
        assert all(process.poll() is None for process in running), finished(running)
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "each"), [(2, 2), (4, 1)])
def test_processes_give_the_numbers_of_one(tmp_path, processes, each):
    script, address = str(ROOT / "tests/equivalence.py"), f"127.0.0.1:{free_port()}"
    cases = [f"{dtype}-{mode}-4" for dtype in ("float32", "float64") for mode in ("jit", "pmap")]
    with contextlib.ExitStack() as stack:
        running = []
        for i in range(processes):
            env = devices(each) | {"COORDINATOR": address, "PROCESSES": str(processes), "PROCESS": str(i)}
            running.append(stack.enter_context(start(script, str(tmp_path), *cases, cwd=tmp_path, env=env)))
            stack.callback(running[-1].kill)
        ends = finished(running)
        assert [code for code, _, _ in ends] == [0] * processes, ends
    with start(script, str(tmp_path), "float32-jit-1", "float64-jit-1", cwd=tmp_path, env=devices(1)) as process:
        process.communicate(timeout=300)
    for case in cases:
        dtype = case.split("-")[0]
        ours, reference = (dict(np.load(tmp_path / f"{name}.npz")) for name in (case, f"{dtype}-jit-1"))
        for name in [name for name in ours if name.startswith("loss")]:
            np.testing.assert_allclose(ours.pop(name), reference.pop(name), rtol=1e-6)
        assert error(ours, reference) <= (1e-5 if dtype == "float32" else 1e-11), case


@pytest.mark.slow
@pytest.mark.parametrize("bits", [False, True])
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, bits):
    """As the run of one process, up to rounding; bit by bit as the one of several that wasn't stopped."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with train(stopped, 2, 2) as running:
        wait_for_step(stopped, 5, running)
        running[1].send_signal(signal.SIGTERM)
        ends = finished(running)
        assert [code for code, _, _ in ends] == [143, 143], ends
        assert "Saved. To continue:" in ends[0][1]
    assert 5 <= last_step(stopped) < STEPS
    with train(stopped, 2, 2, "--json") as running:
        ends = finished(running)
        assert [code for code, _, _ in ends] == [0, 0], ends
    assert "Continuing from step" in ends[0][2]
    assert json.loads(ends[0][1])["count"] == 360  # the first process writes, and nobody else
    assert ends[1][1] == ""
    with train(whole, *((2, 2) if bits else (1, 4))) as running:
        assert finished(running)[0][0] == 0
    if bits:
        chex.assert_trees_all_equal(final_state(stopped, STEPS), final_state(whole, STEPS))
        assert comparable(stopped) == comparable(whole)
    for ours, reference in zip(comparable(stopped), comparable(whole), strict=True):
        numbers = {name: value for name, value in reference.items() if isinstance(value, int | float)}
        assert {name: ours[name] for name in numbers} == pytest.approx(numbers, rel=1e-3)


@pytest.mark.parametrize(
    "meet", [by_address, *(pytest.param(parallel, marks=pytest.mark.slow) for parallel in (by_slurm, by_open_mpi))]
)
def test_a_mistake_that_only_the_first_process_can_see_ends_all(tmp_path, meet):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with train(tmp_path / "run", 2, 1, meet=meet) as running:
            (code, _, err), (code1, _, err1) = finished(running, timeout=120)
    assert (code, code1) == (2, 2), (err, err1)
    assert "another run is writing to run" in err
    assert "process 0 stopped; it says why" in err1


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_process_that_dies_ends_the_others_with_a_word(tmp_path, victim):
    workdir = tmp_path / "run"
    with train(workdir, 2, 1, "--train.steps", "100000", "--train.eval-steps", "20") as running:
        wait_for_step(workdir, 25, running)
        while not (workdir / "checkpoints/20").is_dir():  # it's written while the steps go on
            assert all(process.poll() is None for process in running)
            time.sleep(0.01)
        running[victim].kill()
        began = time.monotonic()
        code, _, err = finished(running[1 - victim : 2 - victim], timeout=150)[0]
    assert time.monotonic() - began < 120
    assert code not in (0, 2)
    assert "lost the others" in err or "another task died" in err, err
    assert "Traceback" not in err
    assert (workdir / "checkpoints/20").is_dir()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--coordinator", "here:1"], "--coordinator has no effect without --distributed"),
        (["--distributed", "--coordinator", "here:1", "--process-id", "0"], "--num-processes"),
        (["--distributed", "--coordinator", "here", "--num-processes", "2", "--process-id", "0"], "HOST:PORT"),
        (["--distributed", "--coordinator", "here:1", "--num-processes", "2", "--process-id", "2"], "from 0 to 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_answered_at_once(options, words, tmp_path, monkeypatch, capsys):
    from fcnn.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "resnet", "--workdir", "run", *options]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_processes_without_a_common_folder_or_peers_are_told_so(tmp_path, fcnn):
    quiet = {"FCNN_CPU_CONV": "lax"}  # where oneDNN is missing, another line tells, unless it isn't wanted
    told = fcnn("train", "--config", "resnet", "--distributed", cwd=tmp_path, env=quiet)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "--distributed needs --workdir" in told.stderr
    told = fcnn("train", "--config", "resnet", "--distributed", "--workdir", "run", cwd=tmp_path, env=quiet)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "finds neither Slurm nor" in told.stderr
