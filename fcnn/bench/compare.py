"""Contenders take turns; the result is the median of their ratios within a round. Standard library only."""

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
    """A process that takes steps on request (`fcnn.bench.worker`) and sleeps between its turns.

    It is started twice with one cache of compiled programs, to see what is faster the second time.
    """

    def __init__(self, name: str, job: Job) -> None:
        self._name, self._command = name, [sys.executable, "-m", "fcnn.bench.worker", name]
        self._command.append(json.dumps(dataclasses.asdict(job)))
        self._cache = tempfile.TemporaryDirectory(prefix="fcnn-bench-")
        # A file: nobody reads a pipe while the process runs, and a full one would stop it for ever.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        self._process: subprocess.Popen[str] | None = None
        self.rounds: list[dict[str, float]] = []
        try:
            self._facts = self._start()
            again = self._facts if name == "gemm" else self._start()
            self._facts = self._facts | {"warm_seconds": again["ready_seconds"]}
            self._steps = max(1, round(_SECONDS / self._take(1)["wall"]))
        except BaseException:  # Ctrl-C as well
            self.close()
            raise

    def round(self) -> None:
        """Takes its steps, and adds {"wall", "cpu"} in seconds per step to `rounds`."""
        self.rounds.append(self._take(self._steps))

    def finish(self) -> dict[str, Any]:
        """Ends the process; returns medians in seconds per step, and what the process measured itself."""
        self._pipe("stdin").close()
        facts = self._facts | self._read()
        return facts | {key: statistics.median(r[key] for r in self.rounds) for key in ("wall", "cpu")}

    def close(self) -> None:
        """Ends the process, whatever it's doing."""
        self._stop()
        self._errors.close()
        self._cache.cleanup()

    def _start(self) -> dict[str, Any]:
        """Starts the process, anew if it runs; returns what it prints when it's ready."""
        self._stop()
        environment = dict(os.environ)
        environment |= {"JAX_COMPILATION_CACHE_DIR": self._cache.name, "TORCHINDUCTOR_CACHE_DIR": self._cache.name}
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        if self._name in ("lax", "flax"):
            environment["FCNN_CPU_CONV"] = "lax"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self._process = subprocess.Popen(self._command, text=True, env=environment, **pipes)
        return self._read()

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for name in ("stdin", "stdout"):
            with contextlib.suppress(OSError):
                self._pipe(name).close()
        self._process.wait()

    def _take(self, steps: int) -> dict[str, float]:
        print(steps, file=self._pipe("stdin"), flush=True)
        return {key: value / steps for key, value in self._read().items()}

    def _read(self) -> dict[str, Any]:
        """Returns what the process prints next; UserError if it ended instead."""
        if line := self._pipe("stdout").readline():
            return json.loads(line)
        self._stop()
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()[-1:]
        raise UserError(f"the process of {self._name} ended: {' '.join(last) or 'without a message'}")

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)


def measure(job: Job, against: Sequence[str], *, rounds: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measures fcnn and others.

    Returns:
      {"job", "rounds", "gemm_gflops", "contenders": {name: {"wall", "cpu" (seconds a step), "images_per_second",
      "gflops", "gemm_share", "compile_seconds", "ready_seconds" and "warm_seconds" (from the start of a process to the
      end of its first step, with nothing compiled before and with all of it), "peak_bytes", "variant", "difference" (of
      an image's logits from fcnn's, by the largest of these; of those who read the network's files)}}, "ratios":
      {name: {"wall", "cpu"}}}. A ratio above 1 means that fcnn is faster by that factor: the median over the rounds of
      their time by ours.

    Raises:
      UserError: ours doesn't run, or no variant of another's. For `predict` only the former: engines may lack
        something.
    """
    contenders: dict[str, Contender] = {}
    try:
        for name in ("gemm", "fcnn", *(variant for other in against for variant in CONTENDERS[other])):
            log(f"preparing {name}")
            try:
                contenders[name] = Contender(name, job)
            except UserError as error:
                if name in ("gemm", "fcnn") or (name in CONTENDERS and job.kind != "predict"):
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
    results = {name: contender.finish() for name, contender in contenders.items()}
    gemm = 2 * GEMM**3 / results["gemm"]["wall"] / 1e9
    passes = 3 if job.kind == "step" else 1  # forward, and the gradients by inputs and by weights
    gflop = 2 * passes * job.batch * results["fcnn"]["multiply_adds"] / 1e9
    table, ratios = {}, {}
    for name in ("fcnn", *against):
        variants = [variant for variant in CONTENDERS[name] if variant in results]
        if not variants:
            if job.kind == "predict":
                continue
            raise UserError(f"no variant of {name} runs here")
        best = min(variants, key=lambda variant: results[variant]["wall"])
        row = results[best] | {"variant": best, "images_per_second": job.batch / results[best]["wall"]}
        row["gflops"] = gflop / row["wall"]
        if (logits := row.pop("logits", None)) is not None:
            row["difference"] = _difference(logits, results["fcnn"]["logits"])
        table[name] = row | {"gemm_share": row["gflops"] / gemm}
        if name != "fcnn":
            pairs = list(zip(contenders[best].rounds, contenders["fcnn"].rounds, strict=True))
            ratios[name] = {key: statistics.median(a[key] / b[key] for a, b in pairs) for key in ("wall", "cpu")}
    facts = {"job": dataclasses.asdict(job), "rounds": len(contenders["fcnn"].rounds), "gemm_gflops": gemm}
    return facts | {"contenders": table, "ratios": ratios}


def _difference(logits: list[float], ours: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(logits, ours, strict=True)) / max(map(abs, ours))
