"""A training or an evaluation in a process of its own: `python -m fcnn.bench.photos.worker JOB` prints the result as a
JSON object, the last line of its standard output."""

import json
import os
import sys

from fcnn.bench.photos.job import Cell, Job


def main() -> None:
    """Does what the job says."""
    values = json.loads(sys.argv[1])
    job = Job(**values | {"cell": Cell(**values["cell"])})
    if job.cell.contender == "torch":
        os.environ["JAX_PLATFORMS"] = "cpu"  # JAX only scores there, and would take most of a GPU's memory for itself
        from fcnn.bench.photos.torch_loop import fine_tune as work
    else:
        from fcnn.runtime.ready import get_ready

        get_ready()
        if job.cell.contender == "fcnn":
            from fcnn.bench.photos.jax_side import evaluate_run as work
        else:
            from fcnn.bench.photos.jax_side import logistic_regression as work
    print(json.dumps(work(job)))


if __name__ == "__main__":
    main()
