"""Contenders take turns; the medians of their ratios are what is believed. Standard library only."""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from fcnn.bench.job import CONTENDERS, GEMM, Job
from fcnn.utils.errors import UserError

_SECONDS = 1.0


class Contender:
    """A worker process, asleep unless it's its turn; started twice, to see what is faster the second time."""

    def __init__(self, name: str, job: Job) -> None:
        self._cache = tempfile.TemporaryDirectory(prefix="fcnn-bench-")  # for both starts, and empty before
        try:
            first = Worker(name, job, self._cache.name)
            if name == "gemm":
                self.worker = first
            else:
                first.close()
                self.worker = Worker(name, job, self._cache.name)
        except UserError:
            self._cache.cleanup()
            raise
        self.known = first.known | {"warm_seconds": self.worker.known["ready_seconds"]}
        self.steps = 1
        self.rounds: list[dict[str, float]] = []
        self.steps = max(1, round(_SECONDS / self.round()["wall"]))
        self.rounds.clear()

    def round(self) -> dict[str, float]:
        """Takes its steps; {"wall", "cpu"} in seconds a step."""
        self.worker.log(self.steps)
        self.rounds.append({key: value / self.steps for key, value in self.worker.hear().items()})
        return self.rounds[-1]

    def finish(self) -> dict[str, Any]:
        """Ends the process; what it measured: medians in seconds a step, and what it told of itself."""
        told = self.known | self.worker.finish()
        return told | {key: statistics.median(r[key] for r in self.rounds) for key in ("wall", "cpu")}

    def close(self) -> None:
        """Ends the process, whatever it's doing."""
        self.worker.close()
        self._cache.cleanup()


class Worker:
    """A process that takes steps as told (`fcnn.bench.worker`), with compiled programs kept in a folder `cache`."""

    def __init__(self, name: str, job: Job, cache: str) -> None:
        environment = dict(os.environ)
        environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "TORCHINDUCTOR_CACHE_DIR": cache}
        if name in ("lax", "flax"):
            environment["FCNN_CPU_CONV"] = "lax"
        command = [sys.executable, "-m", "fcnn.bench.worker", name, json.dumps(dataclasses.asdict(job))]
        self.name = name
        # A file: nobody reads a pipe while the process runs, and a full one would stop it for ever.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment
        )
        try:
            self.known: dict[str, Any] = self.hear()
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def log(self, steps: int) -> None:
        """Has it take so many steps."""
        assert self.process.stdin is not None
        print(steps, file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """What it tells next.

        Raises:
          UserError: it ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:]
            raise UserError(f"the process of {self.name} ended: {' '.join(last) or 'it said nothing'}")
        return json.loads(line)

    def finish(self) -> dict[str, Any]:
        """Ends it; what it tells of itself at the end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        told = self.hear()
        self.process.wait()
        return told

    def close(self) -> None:
        """Ends it, whatever it's doing."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()


def measure(job: Job, against: Sequence[str], *, rounds: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measures fcnn and others.

    Returns:
      {"job", "rounds", "gemm_gflops", "contenders": {name: {"wall", "cpu" (seconds a step), "images_per_second",
      "gflops", "gemm_share", "compile_seconds", "ready_seconds" and "warm_seconds" (from the start of a process to the
      end of its first step, with nothing compiled before and with all of it), "peak_bytes", "variant"}}, "ratios":
      {name: {"wall", "cpu"}}}. A ratio above 1 says that fcnn is faster by that factor: the median over the rounds of
      theirs by ours.

    Raises:
      UserError: ours doesn't run, or no variant of another's.
    """
    contenders: dict[str, Contender] = {}
    try:
        for name in ("gemm", "fcnn", *(variant for other in against for variant in CONTENDERS[other])):
            log(f"preparing {name}")
            try:
                contenders[name] = Contender(name, job)
            except UserError as error:
                if name in ("gemm", *CONTENDERS):
                    raise
                log(f"without {name}: {error}")  # another variant of the same contender may do
        for number in range(rounds):
            log(f"round {number + 1} of {rounds}")
            for contender in contenders.values():
                contender.round()
        return _summary(job, against, contenders)
    finally:
        for contender in contenders.values():
            contender.close()


def _summary(job: Job, against: Sequence[str], contenders: dict[str, Contender]) -> dict[str, Any]:
    found = {name: contender.finish() for name, contender in contenders.items()}
    gemm = 2 * GEMM**3 / found["gemm"]["wall"] / 1e9
    passes = 3 if job.kind == "step" else 1  # forward, and the gradients by inputs and by weights
    gflop = 2 * passes * job.batch * found["fcnn"]["multiply_adds"] / 1e9
    table, ratios = {}, {}
    for name in ("fcnn", *against):
        variants = [variant for variant in CONTENDERS[name] if variant in found]
        if not variants:
            raise UserError(f"no variant of {name} runs here")
        best = min(variants, key=lambda variant: found[variant]["wall"])
        row = found[best] | {"variant": best, "images_per_second": job.batch / found[best]["wall"]}
        row["gflops"] = gflop / row["wall"]
        table[name] = row | {"gemm_share": row["gflops"] / gemm}
        if name != "fcnn":
            pairs = list(zip(contenders[best].rounds, contenders["fcnn"].rounds, strict=True))
            ratios[name] = {key: statistics.median(a[key] / b[key] for a, b in pairs) for key in ("wall", "cpu")}
    rounds = len(contenders["fcnn"].rounds)
    return {
        "job": dataclasses.asdict(job),
        "rounds": rounds,
        "gemm_gflops": gemm,
        "contenders": table,
        "ratios": ratios,
    }
