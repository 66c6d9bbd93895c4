"""Several devices give the numbers of one, in either mode."""

import dataclasses
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equivalence import BATCH, CONFIG, error, experiment, take_steps
from harness import ROOT, relative_error, start

from fcnn import models
from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, ParallelConfig
from fcnn.data import load
from fcnn.data.pipeline import EpochSampler
from fcnn.distributed import sharding
from fcnn.training.checkpoint import Checkpoints
from fcnn.training.evaluate import compile_evaluation
from fcnn.training.setup import compile_train_step, trace_train_step
from fcnn.utils.batch import make_batch
from fcnn.utils.errors import UserError

JIT, PMAP = ParallelConfig(), ParallelConfig(mode="pmap")
DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}
GRID = [f"{dtype}-{mode}-{n}" for dtype in ("float32", "float64") for mode in ("jit", "pmap") for n in (1, 2, 4, 8)]
SOME = ["float64-jit-1", "float64-pmap-4", "float64-jit-1-flax", "float64-pmap-4-flax"]


@pytest.mark.parametrize("cases", [SOME, pytest.param(GRID, marks=pytest.mark.slow)], ids=["some", "all"])
def test_many_devices_give_the_numbers_of_one_in_either_mode(tmp_path, cases):
    """With everything on: batch norm, dropout, augmentation, accumulation, clipping, averages, decay, a penalty."""
    with start(str(ROOT / "tests/equivalence.py"), str(tmp_path), *cases, cwd=tmp_path, env=DEVICES) as process:
        _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    found = {case: dict(np.load(tmp_path / f"{case}.npz")) for case in cases}
    for case, ours in found.items():
        dtype, _, _, *of_flax = case.split("-")
        reference = found["-".join([dtype, "jit-1", *of_flax])]
        losses = {name for name in ours if name.startswith("loss")}
        assert len(ours) > 30
        assert {str(array.dtype) for array in ours.values()} >= {dtype}
        for names, bound in ((losses, 1e-6), (ours.keys() - losses, 1e-5 if dtype == "float32" else 1e-11)):
            wrong = error({n: ours[n] for n in names}, {n: reference[n] for n in names})
            assert wrong <= bound, (case, wrong)  # losses are float32 sums in any case


def variant(parallel: ParallelConfig, batch_size: int = BATCH, grad_accum_steps: int = 1) -> Config:
    """The config without what is random, which depends on an example's place in the batch."""
    train = dataclasses.replace(CONFIG.train, batch_size=batch_size, grad_accum_steps=grad_accum_steps)
    return dataclasses.replace(
        CONFIG, augment=AugmentConfig(), model=ModelConfig(norm="batch"), train=train, parallel=parallel
    )


@pytest.mark.slow
def test_per_device_statistics_are_those_of_the_shares():
    """Against one device: the gradient that accumulates the same groups, and the mean of each group's own statistics.

    With k micro-batches example j is in group j mod k; on k devices, groups are the k slices.
    """
    k, order = 4, np.arange(BATCH, dtype=np.int32)
    accumulated = take_steps(experiment(variant(JIT, grad_accum_steps=k), 1), [order], "float32")
    one = experiment(variant(JIT, BATCH // k), 1)
    groups = [take_steps(one, [order[i::k]], "float32") for i in range(k)]
    means = {name: np.mean([group[name] for group in groups], axis=0) for name in accumulated if "batch_stats" in name}
    reference = accumulated | means
    for mode in ("jit", "pmap"):
        parallel = ParallelConfig(mode=mode, batch_norm="per_device")
        shares = take_steps(experiment(variant(parallel), k), [order.reshape(-1, k).T.ravel()], "float32")
        assert error(shares, reference) < 1e-5


@pytest.mark.slow
def test_a_state_goes_on_with_other_devices_in_the_other_mode(tmp_path):
    """A checkpoint is one copy of the state, whatever it was written on."""
    exps = [experiment(variant(parallel), devices) for parallel, devices in ((PMAP, 4), (JIT, 2))]
    steps = [compile_train_step(setup, setup.init_state()) for setup in exps]
    first, second = np.arange(BATCH, dtype=np.int32), np.arange(BATCH, 2 * BATCH, dtype=np.int32)
    ends = []
    for number, (writer, reader) in enumerate(((0, 0), (0, 1), (1, 0))):
        with Checkpoints(tmp_path / str(number), max_to_keep=1, keep_best=1) as checkpoints:
            state, _ = steps[writer](exps[writer].init_state(), first)
            checkpoints.save(state, {}, None)
            checkpoints.wait()
            restored, _ = checkpoints.restore(exps[reader].init_state(), 1)
            ends.append(sharding.to_host(steps[reader](restored, second)[0].params))
            if writer == reader:
                chex.assert_trees_all_equal(ends[-1], sharding.to_host(steps[writer](state, second)[0].params))
    assert max(relative_error(end, ends[0]) for end in ends) < 1e-6


def test_evaluation_on_four_devices_counts_as_one_does():
    """144 images, which 48 divide and 40 don't."""
    found = []
    for devices, size in ((1, 48), (4, 40)):
        config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, eval_batch_size=size))
        setup = experiment(config, devices)
        variables = setup.init_state().variables
        found.append(compile_evaluation(setup, variables, setup.dataset.validation)(variables))
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_batch_that_does_not_divide_names_the_nearest():
    mesh = sharding.make_mesh()
    assert mesh.size == 4
    with pytest.raises(UserError, match=r"^train\.batch-size 30 does not divide over 4 devices; .* 28 or 32$"):
        sharding.check_divides(30, mesh, "train.batch-size")
    with pytest.raises(UserError, match=r"nearest that does: 4$"):
        sharding.check_divides(3, mesh, "train.batch-size")


@pytest.mark.parametrize("parallel", [JIT, PMAP, ParallelConfig(batch_norm="per_device")], ids=str)
def test_the_state_is_donated_and_nothing_is_traced_twice(parallel):
    traces, axis = [], sharding.step_axis(parallel)

    def step(state, x):
        traces.append(1)
        total = x.sum() if axis is None else jax.lax.psum(x.sum(), axis)
        return state + total, total / 8

    mesh = sharding.make_mesh()
    state = sharding.replicate(np.ones((256, 256), np.float32), mesh)
    x = sharding.shard(np.ones(8, np.float32), mesh)
    compiled = sharding.compile_step(step, state, x, donate=True, parallel=parallel)
    after, mean = compiled(compiled(state, x)[0], x)
    assert after.sharding.is_fully_replicated
    assert (float(after[0, 0]), float(mean)) == (17.0, 1.0)
    assert traces == [1]
    assert state.is_deleted()
    with pytest.raises(TypeError, match="compiled"):
        compiled(after, sharding.shard(np.ones(16, np.float32), mesh))


@pytest.mark.parametrize("devices", [1, 4])
def test_a_step_has_one_copy_of_the_state_and_moves_nothing_between_host_and_devices(devices):
    streamed, network = load(DataConfig(pipeline="stream")), models.create("mlp", num_classes=10)
    setup = dataclasses.replace(experiment(variant(JIT), devices), dataset=streamed, model=network)
    state, pipeline = setup.init_state(), setup.train_pipeline()
    program = trace_train_step(setup, state, pipeline).lower().compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    memory: Any = program.memory_analysis()
    assert memory.alias_size_in_bytes == size  # the new state lies where the old one lay
    assert memory.output_size_in_bytes - size + memory.temp_size_in_bytes < size
    step = compile_train_step(setup, state, pipeline)
    items = [item for item, _ in zip(pipeline.train(EpochSampler(1293, BATCH, 0), range(4)), range(4), strict=True)]
    with jax.transfer_guard("disallow_explicit"):
        for item in items:
            state, report = step(state, item)
    assert np.isfinite(report.metrics.loss)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("parallel", [JIT, PMAP, ParallelConfig(batch_norm="per_device")], ids=str)
def test_steps_follow_each_other_while_the_host_goes_on(parallel, devices):
    mesh = sharding.make_mesh(jax.devices()[:devices])

    def add_up(total: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = numbers.sum()
        if sharding.step_axis(parallel):
            found = jax.lax.psum(found, sharding.DATA_AXIS)
        return total + found, found

    total, numbers = sharding.replicate(jnp.zeros(()), mesh), sharding.shard(jnp.arange(8.0), mesh)
    step = sharding.compile_step(add_up, total, numbers, donate=True, parallel=parallel)
    for _ in range(20):
        total, found = step(total, numbers)
        del found  # nobody else holds what the next call waits for
    assert total == 20 * 28


def test_finiteness_of_a_tree():
    tree = {"a": np.ones(3, np.float32), "b": np.arange(3), "key": jax.random.key(0)}
    tree = jax.tree.map(jax.numpy.asarray, tree)
    assert sharding.all_finite(tree)
    assert not sharding.all_finite(tree | {"a": tree["a"].at[1].set(np.nan)})
    chex.assert_trees_all_equal(sharding.to_host(tree["b"]), np.arange(3))


@pytest.mark.slow
def test_on_one_device_the_program_is_the_one_that_plain_jit_makes():
    def arguments(setup):
        images, labels = jnp.zeros((BATCH, 8, 8, 1)), jnp.zeros(BATCH, jnp.int32)
        return setup.init_state(), sharding.shard(make_batch(images, labels), setup.mesh)

    def program(setup, *args) -> str:
        return jax.jit(setup.train_step(), donate_argnums=0).lower(*args).compile().as_text() or ""

    one, four = experiment(variant(JIT), 1), experiment(variant(JIT), 4)
    ours: Any = sharding.trace_step(one.train_step(), *arguments(one), donate=True).lower().compile()
    assert "all-reduce" not in ours.as_text()
    assert operations(ours.as_text()) == operations(program(one, *jax.device_put(arguments(one), jax.devices()[0])))
    assert "all-reduce" in program(four, *arguments(four))


def operations(program: str) -> list[str]:
    """The operations of an optimized program, without their numbers and where in the source they come from."""
    lines = [line.strip() for line in program.splitlines()]
    lines = [re.sub(r", (metadata|sharding|frontend_attributes)=\{.*\}", "", line) for line in lines]
    return sorted(re.sub(r"(%[\w-]+?)(\.\d+)+\b", r"\1", line) for line in lines if line.startswith(("%", "ROOT")))
