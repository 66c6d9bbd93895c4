"""One contender in a process of its own: `python -m fcnn.bench.worker CONTENDER JOB`.

It prints a JSON object when it's ready; another for each line that it reads, a number of steps, with the time that they
took; and one with its peak memory at the end of its input.
"""

import json
import os
import sys
import time
from typing import TextIO

from fcnn.bench.job import Job
from fcnn.runtime.memory import keep_memory


def main() -> None:
    """Compiles a step, and takes steps on request."""
    contender, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    records = _own_stdout()
    began = time.perf_counter()
    if contender in ("fcnn", "lax") and job.kind != "predict":  # as a run does; the others, and fcnn.load, don't
        keep_memory()
        from fcnn.runtime.threads import one_pool_thread

        one_pool_thread()
    if contender == "gemm":
        from fcnn.bench.jax_side import make_gemm as make_setup
    elif contender.startswith("torch"):
        from fcnn.bench.torch_side import make_setup
    elif job.kind == "predict":
        from fcnn.bench.engines import make_setup
    else:
        from fcnn.bench.jax_side import make_setup
    run, facts = make_setup(job, contender)
    run(1)
    facts["ready_seconds"] = time.perf_counter() - began  # imports, compilation and a first step
    _print(facts, records)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run(int(line))
        _print({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, records)
    _print({"peak_bytes": _peak_bytes()}, records)


def _own_stdout() -> TextIO:
    """Returns the standard output for records alone: what libraries print from now on goes to standard error."""
    records = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return records


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _print(record: dict, file: TextIO) -> None:
    print(json.dumps(record), file=file, flush=True)


if __name__ == "__main__":
    main()
