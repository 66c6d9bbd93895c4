"""How far a run has come, and the state that it ended with."""

import jax

from fcnn.data import load
from fcnn.distributed import sharding
from fcnn.report import read_records
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.setup import make_setup
from fcnn.training.workdir import read_config


def last_step(workdir) -> int:
    records = read_records(workdir)
    return records[-1]["step"] if records else 0


def final_state(workdir, step):
    config = read_config(workdir)
    setup = make_setup(config, load(config.data), sharding.make_mesh())
    with Checkpoints(workdir / "checkpoints", max_to_keep=2, keep_best=1) as checkpoints:
        state, meta = checkpoints.restore(setup.init_state(), step)
    return jax.device_get(state.replace(key=jax.random.key_data(state.key))), meta
