"""What becomes part of a convolution at test time: the numbers of the operations one by one, and one call for them."""

import functools
import importlib
import re
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import THOROUGH, error, normal, quick
from convolutions import NHWC, cases, ended, ended_arrays_for, ended_by_lax, in_float64, single
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnn import models
from fcnn.nn import cpu_convolutions
from fcnn.nn.onednn.plan import Activation

conv_norm_act = importlib.import_module("fcnn.nn.conv_norm_act")
HERE = cpu_convolutions()
needs_onednn = pytest.mark.skipif(
    not HERE.startswith("oneDNN"), reason=f"it counts calls of oneDNN, and this is {HERE}"
)


@settings(max_examples=10 * THOROUGH)
@given(cases(), st.booleans(), st.booleans(), st.sampled_from([*get_args(Activation), None]))
def test_every_shape_and_ending(case, scale, add, activation):
    x, w, options = case
    arrays = ended_arrays_for(x, w, options, scale=scale, add=add)
    options = {"options": options, "activation": activation}
    wanted = in_float64(functools.partial(ended_by_lax, **options), *arrays)
    actual = jax.jit(functools.partial(ended, **options), compiler_options=quick())(*single(arrays))
    assert actual.dtype == jnp.float32
    assert error(actual, wanted) < 1e-5


OPTIONS = {"options": {"window_strides": (2, 1), "padding": ((1, 0), (1, 1))} | NHWC, "activation": "relu"}
ARRAYS = ended_arrays_for((4, 9, 8, 6), (3, 3, 6, 16), OPTIONS["options"], scale=True, add=True)


def transformed(how, function):
    def loss(*arrays):
        return (function(*arrays) ** 2).sum()

    return {
        "gradient": jax.grad(loss, argnums=(0, 1, 2, 3, 4)),
        "jvp": lambda *arrays: jax.jvp(function, arrays, tuple(map(jnp.cos, arrays))),
        "twice": jax.grad(lambda *arrays: (jax.grad(loss)(*arrays) ** 2).sum(), argnums=1),
        "vmap": lambda x, *rest: jax.vmap(function, (1, None, None, None, None))(jnp.stack([x, -x], 1), *rest),
        "vmap over kernels": lambda x, w, *rest: jax.vmap(function, (None, 3, None, None, None))(
            x, jnp.stack([w, -w], 3), *rest
        ),
    }[how]


@pytest.mark.parametrize("how", ["gradient", "jvp", "twice", "vmap", "vmap over kernels"])
def test_transformations(how):
    wanted = in_float64(transformed(how, functools.partial(ended_by_lax, **OPTIONS)), *ARRAYS)
    actual = jax.jit(transformed(how, functools.partial(ended, **OPTIONS)))(*single(ARRAYS))
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert error(a, b) < 1e-5


def network(name, options):
    """A model, variables in which no statistic, scale or bias has a special value, images."""
    model = models.create(name, num_classes=3, width_multiplier=0.25, **options)
    rng = np.random.default_rng(0)
    images = jnp.asarray(normal(rng, 2, 32, 32, 3), jnp.float32)
    kinds = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return model, jax.tree.map(functools.partial(drawn, rng), kinds), images


def drawn(rng, kind):
    if kind.ndim == 1:
        return jnp.asarray(rng.uniform(0.5, 1.5, kind.shape), jnp.float32)
    return jnp.asarray(normal(rng, *kind.shape) / np.sqrt(np.prod(kind.shape[:-1])), jnp.float32)


# The network, how many convolutions its evaluation calls oneDNN for, and how many of them include something else.
# Images of up to 2x2 pixels are left to matrix products.
NETWORKS = [
    ("resnet20", {"shortcut": "A"}, 19, 19),
    ("resnet20", {"shortcut": "projection"}, 21, 21),
    ("resnet20", {"shortcut": "none", "activation": "gelu"}, 19, 19),
    ("resnet20", {"norm": "group"}, 19, 0),
    ("vgg11_bn", {"hidden": ()}, 6, 6),
    ("squeezenet1_0", {}, 22, 22),
    ("preact_resnet164", {"stage_sizes": (1, 1, 1)}, 13, 6),
    ("lenet5", {}, 2, 2),
]


@needs_onednn
@pytest.mark.parametrize(("name", "options", "calls", "fused"), NETWORKS)
def test_a_networks_evaluation(name, options, calls, fused):
    model, variables, images = network(name, options)
    evaluate = functools.partial(model.apply, train=False)
    lowered = jax.jit(evaluate).lower(variables, images)
    assert len(re.findall(r"\[(?:true|false), (?:true|false),", lowered.as_text())) == fused  # calls with an ending
    compiled = lowered.compile()
    text = str(compiled.as_text())
    assert text.count('custom_call_target="fcnn_onednn"') == calls  # what was fused isn't computed twice
    wanted: Any = evaluate(variables, images)  # operation by operation: nothing is fused
    assert error(compiled(variables, images), wanted) < 1e-5


def test_endpoints_are_those_of_the_network_as_it_is_written():
    """An endpoint lies behind what is computed in one call; so it's the same whether it's asked for or not."""
    model, variables, images = network("resnet20", {})
    names = ("stem", "stage1", "stage3", "pool")
    evaluate = functools.partial(model.apply, train=False)
    logits, found = jax.jit(functools.partial(evaluate, features=names))(variables, images)
    wanted: Any = evaluate(variables, images, features=names)[1]
    for name in names:
        assert error(found[name], wanted[name]) < 1e-5
    np.testing.assert_array_equal(logits, jax.jit(evaluate)(variables, images))


def test_the_gradient_of_an_evaluation(monkeypatch):
    """As saliency maps want it: by the images, and by every parameter."""
    model, variables, images = network("shallow_cnn", {"norm": "batch"})
    assert "fused_convolution" in str(jax.make_jaxpr(functools.partial(model.apply, train=False))(variables, images))

    def loss(variables, images):
        logits: Any = model.apply(variables, images, train=False)
        return (logits**2).sum()

    def gradients():
        return jax.jit(lambda *given: jax.grad(loss, argnums=(0, 1))(*given), compiler_options=quick())(
            variables, images
        )

    found = gradients()
    monkeypatch.setattr(conv_norm_act, "_fused", lambda *_: None)
    wanted = gradients()
    for actual, expected in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert error(actual, expected) < 1e-4


def test_training_convolves_nothing_but_what_it_needs():
    """Without a norm: twice forward, twice by the kernel, once by the images. Nothing for what has no gradient."""
    model, variables, images = network("shallow_cnn", {})

    def loss(variables):
        logits: Any = model.apply(variables, images, train=True)
        return (logits**2).sum()

    program = jax.jit(jax.grad(loss)).trace(variables).lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("stablehlo.convolution") == 5


@pytest.mark.parametrize(
    ("options", "how"),
    [({}, {"train": True, "mutable": ["batch_stats"]}), ({"dtype": jnp.bfloat16}, {"train": False})],
    ids=["training", "bfloat16"],
)
def test_what_keeps_the_convolution_apart(options, how):
    model, variables, images = network("resnet20", options)
    assert "fused_convolution" not in str(jax.make_jaxpr(functools.partial(model.apply, **how))(variables, images))
