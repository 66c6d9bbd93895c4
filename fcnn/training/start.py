"""The state before the first step of a run: random weights, or those of a trained network."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fcnn.distributed import sharding
from fcnn.report.records import WEIGHTS
from fcnn.training.features import fit_probe, probed_head, with_head
from fcnn.training.held_out import HeldOut, read_held_out, write_held_out
from fcnn.training.linear_probe import LinearProbe
from fcnn.training.pretrained import load_network
from fcnn.training.setup import TrainSetup
from fcnn.training.state import TrainState
from fcnn.training.trainable import start_from
from fcnn.weights import linear_head, match_classes, published


def start_state(
    setup: TrainSetup,
    log: Callable[[str], None],
    *,
    probe: LinearProbe | None = None,
    workdir: Path | None = None,
) -> TrainState:
    """Returns the state before the first step of a run, with the weights that training starts from.

    Args:
      probe: the linear probe of the run's training images, if it is known already.
      workdir: the run's folder, which keeps what the probe says about images that it was not fitted to.

    Raises:
      UserError: there are none, or they don't fit.
    """
    state, config = setup.init_state(), setup.config
    transfer = config.transfer
    if transfer.weights is None or transfer.strategy == "scratch":
        return state
    network = load_network(transfer.weights, published(config.model), head=False)
    same_head = linear_head(network.info.model) == linear_head(config.model)
    variables, message = start_from(
        network,
        setup.dataset.classes,
        state.variables,
        transfer.strategy if transfer.head_init == "random" else "full",
        seed=config.seed,
        same_head=same_head,
    )
    if transfer.head_init == "linear_probe":
        probe = probe or fit_probe(setup, variables)
        variables, message = probed_head(variables, probe)
        if workdir is not None and read_held_out(workdir, len(setup.dataset.classes)).nearest is None:
            seen, paths = probe.is_held_out, np.asarray(setup.dataset.paths("train"))
            write_held_out(workdir, HeldOut(probe.logits[seen], probe.labels[seen], paths[seen]))
    if transfer.head_init == "extend":
        classes = setup.dataset.classes
        rows = match_classes(network.info.names, classes) if same_head else (None,) * len(classes)
        if None in rows:
            is_known = np.asarray([row is not None for row in rows])
            variables = with_head(variables, fit_probe(setup, variables, is_known))
            message += " New rows: logistic regression on the network's features."
    layers = [layer for name, layer in state.params.items() if name not in setup.trainable.frozen]
    count = sum(array.size for array in jax.tree.leaves(layers)) if setup.total_steps else 0
    source = transfer.weights + (f", {WEIGHTS[network.info.weights]}" if network.info.weights else "")
    log(f"From {source}. {' '.join([*network.notes, message])} {count:,} parameters are trained.")
    ema = None if state.ema is None else jax.tree.map(jnp.copy, variables)  # a step may reuse either's memory
    return sharding.replicate(state.replace(**variables, ema=ema), setup.mesh)
