"""A network compiled with its weights gives what its module gives; XLA's own code is the reference."""

import doctest
import gc
import os
import signal
import threading
import time
import weakref
from typing import Any

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import families, random_network, random_variables
from hypothesis import given
from jax import export

import fcnn.inference.compiled
import fcnn.inference.flat_program
from fcnn.inference.compiled import compiled
from fcnn.nn import Conv, Dense, avg_pool, conv_norm_act, cpu_convolutions, max_pool
from fcnn.nn.onednn import handler, sequence
from fcnn.nn.onednn.one_thread import in_one_thread
from fcnn.nn.onednn.sequence import Buffer, placed

needs_onednn = pytest.mark.skipif(not cpu_convolutions().startswith("oneDNN"), reason=cpu_convolutions())


def drawn(*shape, seed=0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def by_xla(apply, variables, images):
    """Programs for export have no oneDNN. The variables are arguments: a program keeps what it holds."""
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), (variables, images))
    return export.export(jax.jit(apply), platforms=["cpu"])(*shapes).call(variables, images)


def check(apply, variables, images, within=2e-5):
    found, want = compiled(apply, variables)(images), by_xla(apply, variables, images)
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert np.abs(one - other).max() <= within * np.abs(other).max()


def check_network(given, count, within=2e-5):
    model, images = given.create(), drawn(count, *given.info.image_shape)
    check(lambda variables, x: model.apply(variables, x, train=False), given.variables, images, within)


@pytest.mark.parametrize("name", ["resnet20", "squeezenet1_1", "mobilenet_v3_small"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_logits_of_a_network(name, count):
    check_network(random_network(name, width_multiplier=0.25), count)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), families())
def test_every_family(name, size):
    # Drawn weights of EfficientNet v2 and BiT make float32 itself differ: here by the order of additions.
    within = {"efficientnet_v2_s": 5e-3, "resnetv2_50x1_bit": 5e-4}.get(name, 2e-5)
    check_network(random_network(name, size), 2, within)


class Block(nn.Module):
    """Whatever oneDNN and XLA can hand to each other, in an order that was drawn."""

    kinds: tuple[str, ...]

    @nn.compact
    def __call__(self, x):
        kept = [x := Conv(8, 3, padding=1)(x)]
        for at, kind in enumerate(self.kinds):
            x = self.layer(kind, x, kept[at // 2])
            kept.append(x)
        return {"last": x, "between": kept[len(kept) // 2], "mean": x.mean((1, 2))}

    def layer(self, kind, x, earlier):
        """Of (B, H, W, 8), again so; another value, computed before, may be a part of it."""
        if kind == "conv":
            return conv_norm_act(x, Conv(8, 3, padding=1, feature_group_count=2), None, jax.nn.relu)
        if kind == "shortcut":
            return conv_norm_act(x, Conv(8, 1), None, jax.nn.relu6, shortcut=earlier)
        if kind == "xla":
            return jnp.sin(x) + earlier
        if kind == "concatenate":
            return Conv(8, 1)(jnp.concatenate([earlier, x, earlier], axis=3))
        if kind == "pool":
            return max_pool(x, 3, stride=1, padding=1)
        if kind == "mean":
            return avg_pool(x, (3, 1), stride=1, padding=(1, 0), count_include_pad=False)
        return Dense(8)(nn.relu(Dense(8)(x)))


KINDS = ["conv", "shortcut", "xla", "concatenate", "pool", "mean", "dense"]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=9), st.integers(1, 3))
def test_any_order_of_layers(kinds, count):
    block, images = Block(tuple(kinds)), drawn(count, 5, 4, 3)
    variables = random_variables(dict(jax.eval_shape(lambda: block.init(jax.random.key(0), images))))
    check(block.apply, variables, images)


@pytest.mark.parametrize("module", [fcnn.inference.compiled, fcnn.inference.flat_program])
def test_examples(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [6, 7, 8])
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_pooling_at_the_ends(pool, size, ceil_mode):
    check(
        lambda _, x: pool(x, 3, stride=2, padding=1, ceil_mode=ceil_mode), {}, drawn(2, size, size + 1, 4), within=1e-6
    )


def test_pixels_and_other_shapes_are_left_to_xla():
    image = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    check(lambda _, x: max_pool(x, 2), {}, image)
    check(lambda _, x: max_pool(x, 2), {}, drawn(1, 4, 3))
    check(lambda variables, x: x @ variables["w"], {"w": drawn(600, 600)}, drawn(2, 3, 600))


@needs_onednn
def test_a_large_dense_layer():
    check(lambda variables, x: x.reshape(2, -1) @ variables["w"], {"w": drawn(600, 600)}, drawn(2, 10, 10, 6))


def of_a_network():
    given = random_network("resnet18", size=96, width_multiplier=0.125)
    model = given.create()
    return compiled(lambda variables, x: model.apply(variables, x, train=False), given.variables)


@needs_onednn
def test_weights_are_arranged_once(monkeypatch):
    """A call has one primitive a layer: no weights are moved; and a second number of images shares the weights."""
    plans: list[Any] = []
    moves: list[Any] = []
    plan, run = sequence.PlanSequence.plan, sequence.in_one_thread
    monkeypatch.setattr(sequence.PlanSequence, "plan", lambda *args: plans.append(plan(*args)) or plans[-1])
    monkeypatch.setattr(sequence, "in_one_thread", lambda *args: moves.append(args) or run(*args))
    function = of_a_network()
    function(drawn(1, 96, 96, 3))
    (planned,), once = plans, len(moves)
    assert 0 < once <= len(planned.steps) == 21  # 20 convolutions and a pooling; the head, with few weights, is XLA's
    function(drawn(3, 96, 96, 3))
    assert len(moves) < 2 * once


@needs_onednn
def test_what_it_keeps_goes_with_it():
    """No plan and none of the weights is left when the function is gone."""
    gc.collect()
    before, function = len(handler._calls), of_a_network()
    function(drawn(1, 96, 96, 3))
    assert len(handler._calls) > before
    ((run, _),) = [*handler._calls.values()][before:]
    memory = weakref.ref(run.func.__self__)
    del function, run
    gc.collect()
    assert len(handler._calls) == before
    assert memory() is None


@needs_onednn
def test_several_threads_may_ask():
    function, images = of_a_network(), [drawn(2, 32, 32, 3, seed=i) for i in range(4)]
    want = [np.asarray(function(one)) for one in images]
    found: dict[int, list[Any]] = {}

    def ask(i):
        found[i] = [np.asarray(function(images[i])) for _ in range(8)]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, answers in found.items():
        for answer in answers:
            np.testing.assert_array_equal(answer, want[i])


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_what_is_needed_at_once_does_not_overlap(drawn):
    buffers = [Buffer(size, first=min(a, b), last=max(a, b)) for size, a, b in drawn]
    places, end = placed(buffers)
    for i, one in enumerate(buffers):
        assert places[one] % 64 == 0
        assert places[one] + one.size <= end
        for other in buffers[:i]:
            if one.first <= other.last and other.first <= one.last:
                apart = places[one] + one.size <= places[other] or places[other] + other.size <= places[one]
                assert apart or not one.size or not other.size


def write_and_read(_, x):
    place = jax.new_ref(x)
    place[0] = 2 * x[1]
    return max_pool(place[...], 2)


UNUSUAL: dict[str, Any] = {
    "transposed within a reshape": lambda variables, x: x @ jax.lax.reshape(variables["w"], (4, 6), dimensions=(1, 0)),
    "concatenated rows of volumes": lambda _, x: jnp.concatenate([x[:, None], jnp.sin(x)[:, None]], axis=3),
    "random keys": lambda _, x: x + jax.vmap(jax.random.normal)(jnp.repeat(jax.random.key(0)[None], 2)).sum(),
    "random keys in another shape": lambda _, x: x * jax.random.key(0).reshape(1, 1).size,
    "a reference": write_and_read,
    "a loop": lambda _, x: jax.lax.fori_loop(
        0, 3, lambda _, y: max_pool(y, 3, stride=1, padding=1) / 2, max_pool(x, 1)
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_operations(name):
    apply, variables, images = UNUSUAL[name], {"w": drawn(6, 4)}, drawn(2, 6, 5, 4)
    found, want = compiled(apply, variables)(images), jax.jit(apply)(variables, images)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


def test_what_acts_acts_at_each_call(capsys):
    def apply(_, x):
        jax.debug.print("once")
        return jnp.sin(x)

    function = compiled(apply, {})
    for _ in range(2):
        function(drawn(1, 2, 2, 1))
    jax.effects_barrier()
    assert capsys.readouterr().out == "once\n" * 2


def interrupted(function, *arguments):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    function(*arguments)


@needs_onednn
def test_an_interrupt_comes_as_itself(monkeypatch):
    """XLA raises something else where its own call was interrupted. The next answer is right."""
    function, images, run = of_a_network(), drawn(1, 96, 96, 3), sequence.in_one_thread
    want = np.asarray(function(images))
    with monkeypatch.context() as patch:
        patch.setattr(sequence, "in_one_thread", lambda *job: run(interrupted, *job))
        with pytest.raises(KeyboardInterrupt):
            function(images)
    np.testing.assert_array_equal(function(images), want)


def test_an_interrupt_waits_for_what_is_written():
    ended: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        in_one_thread(interrupted, ended.append, True)
    assert ended
