"""One program on several devices gives the numbers of one."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from harness import relative_error
from jax.sharding import AxisType, Mesh

from fcnn import parallel
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from fcnn.data import load
from fcnn.errors import UserError
from fcnn.experiment import compile_evaluation, compile_train_step, prepare

CONFIG = Config(
    augment=AugmentConfig(crop_padding=1, flip=True),
    model=ModelConfig(norm="batch", dropout=0.2),
    optim=OptimConfig(learning_rate=0.05, clip_norm=1.0, weight_decay=1e-3),
    train=TrainConfig(batch_size=16, accumulate=2, ema_decay=0.9, eval_batch_size=48, epochs=1),
)


def results(config, devices):
    """Three steps and an evaluation of 144 images on that many devices."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), (parallel.DATA_AXIS,), axis_types=(AxisType.Auto,))
    exp = prepare(config, load(DataConfig()), mesh)
    state = exp.fresh_state()
    step, reports = compile_train_step(exp, state), []
    for start in range(0, 48, 16):
        state, report = step(state, np.arange(start, start + 16, dtype=np.int32))
        reports.append(report)
    evaluated = compile_evaluation(exp, state.variables, exp.dataset.validation)(state.variables)
    host = parallel.to_host((state.replace(key=jax.random.key_data(state.key)), reports))
    return host, evaluated


@pytest.mark.parametrize("model", ["shallow_cnn", pytest.param("resnet20", marks=pytest.mark.slow)])
def test_four_devices_give_the_numbers_of_one(model):
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, name=model))
    (one, reports), evaluated = results(config, 1)
    (four, reports4), evaluated4 = results(config, 4)
    assert relative_error(reports4[0].grad_norms, reports[0].grad_norms) < 1e-5
    for ours, reference in zip(reports4, reports, strict=True):
        np.testing.assert_allclose(ours.metrics.loss, reference.metrics.loss, rtol=1e-4)
    assert relative_error(four.params, one.params) < 1e-5
    assert relative_error(four.batch_stats, one.batch_stats) < 1e-4
    assert relative_error(four.ema, one.ema) < 1e-4
    assert evaluated4["loss"] == pytest.approx(evaluated["loss"], rel=1e-3)


def test_a_batch_that_does_not_divide_names_the_nearest():
    mesh = parallel.make_mesh()
    assert mesh.size == 4
    with pytest.raises(UserError, match=r"^train\.batch-size 30 does not divide over 4 devices; .* 28 or 32$"):
        parallel.check_divides(30, mesh, "train.batch-size")
    with pytest.raises(UserError, match=r"nearest that does: 4$"):
        parallel.check_divides(3, mesh, "train.batch-size")


def test_the_state_is_donated_and_nothing_is_traced_twice():
    traces = []

    def step(state, x):
        traces.append(1)
        return state + x.sum(), x.mean()

    mesh = parallel.make_mesh()
    state = parallel.replicate(np.ones((256, 256), np.float32), mesh)
    x = parallel.shard(np.ones(8, np.float32), mesh)
    compiled = parallel.compile_step(step, state, x, donate=True)
    after, _ = compiled(compiled(state, x)[0], x)
    assert traces == [1]
    assert state.is_deleted()
    with pytest.raises(TypeError, match="compiled"):
        compiled(after, parallel.shard(np.ones(16, np.float32), mesh))


def test_finiteness_of_a_tree():
    tree = {"a": np.ones(3, np.float32), "b": np.arange(3), "key": jax.random.key(0)}
    tree = jax.tree.map(jax.numpy.asarray, tree)
    assert parallel.all_finite(tree)
    assert not parallel.all_finite(tree | {"a": tree["a"].at[1].set(np.nan)})
    chex.assert_trees_all_equal(parallel.to_host(tree["b"]), np.arange(3))
