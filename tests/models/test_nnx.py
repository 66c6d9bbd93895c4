"""What docs/nnx.md says of our models in Flax NNX; the page's own examples are run by tests/test_readme.py."""

from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnn import models
from fcnn.training.metrics import cross_entropy

X = np.random.default_rng(0).standard_normal((6, 16, 16, 3), np.float32)
LABELS = jnp.arange(6)
FIELDS: dict[str, Any] = dict(num_classes=7, stage_sizes=(1, 1, 1), width_multiplier=0.5, zero_init=False)


def both(name="resnet20", seed=0, **fields):
    """A model, its variables, and the NNX module of the same numbers."""
    model = models.create(name, **FIELDS | fields)
    network = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(seed)).lazy_init(X, train=False)
    variables = model.init(jax.random.key(1), X, train=False)
    nnx.update(network, variables["params"], variables["batch_stats"])
    return model, variables, network


def variables_of(network):
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    return {name: nnx.to_pure_dict(nnx.state(network, kind)) for name, kind in kinds.items()}


def check_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


def test_a_step_in_nnx_is_that_of_the_pure_function():
    """Logits, loss, gradients and running statistics; all variables are there."""
    model, variables, network = both()
    assert jax.tree.all(jax.tree.map(np.array_equal, variables_of(network), variables))

    @jax.jit
    def pure(variables, x):
        def loss(params):
            logits, updates = model.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
            return cross_entropy(logits, LABELS).mean(), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, gradients, updates["batch_stats"], model.apply(variables, x, train=False)

    @nnx.jit
    def in_place(network, x):
        def loss(network):
            return cross_entropy(network(x, train=True, mutable=["batch_stats"]), LABELS).mean()

        logits = network(x, train=False)
        return *nnx.value_and_grad(loss)(network), logits

    value, gradients, batch_stats, logits = pure(variables, X)
    found, found_gradients, found_logits = in_place(network, X)
    check_close((found, nnx.to_pure_dict(found_gradients), found_logits), (value, gradients, logits))
    check_close(variables_of(network)["batch_stats"], batch_stats)
    assert not np.allclose(batch_stats["stem_norm"]["mean"], variables["batch_stats"]["stem_norm"]["mean"])


@pytest.mark.parametrize("fields", [{"dropout": 0.5}, {"dropout": 0.0, "stochastic_depth": 0.5}])
def test_dropout_is_drawn_anew_in_each_call(fields):
    _, _, network = both(**fields)

    @nnx.jit
    def train(network):
        return network(X, train=True, mutable=["batch_stats"])

    a, b = train(network), train(network)
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, train(both(**fields)[2]))  # the same seed, the same masks
    assert not np.array_equal(a, train(both(seed=1, **fields)[2]))
    np.testing.assert_array_equal(network(X, train=False), network(X, train=False))


def test_training_without_mutable_statistics_is_an_error():
    _, _, network = both()
    for mode in (network.train, network.eval):
        mode()
        with pytest.raises(flax.errors.ModifyScopeVariableError, match="batch_stats"):
            network(X, train=True)


def test_activations_by_name():
    model, variables, network = both()
    found = network(X, train=False, features=("stage2", "pool"))[1]
    logits_and_features: Any = model.apply(variables, X, train=False, features=("stage2", "pool"))
    check_close(found, logits_and_features[1])


def test_auxiliary_heads_of_the_pure_function():
    model = models.create("googlenet", num_classes=7, width_multiplier=0.05)
    images = jax.ShapeDtypeStruct((2, 79, 79, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}

    def apply(images):
        variables = model.init(keys, images, train=False)
        updates: Any
        _, updates = model.apply(variables, images, train=True, mutable=["batch_stats", "aux"], rngs=keys)
        return updates["aux"]

    heads = jax.eval_shape(apply, images)
    assert {name: (logits.shape, weight.shape) for name, (logits, weight) in heads.items()} == {
        "aux1_logits": ((2, 7), ()), "aux2_logits": ((2, 7), ()),
    }  # fmt: skip
