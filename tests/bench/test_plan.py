"""What a step would need on a TPU: lowered for one, and read off what is compiled."""

import dataclasses
import importlib.util
import json
import math
from typing import Any

import jax
import pytest
from equivalence import CONFIG, experiment

from fcnn import cli, models
from fcnn.bench import plan
from fcnn.config import Config, ModelConfig, ParallelConfig, TrainConfig, presets
from fcnn.data import outline
from fcnn.distributed import sharding
from fcnn.nn import cpu_convolutions
from fcnn.training.setup import TrainSetup, make_setup, trace_train_step
from fcnn.utils.errors import UserError

IMAGENET = [name for name in presets.names() if name.endswith("_imagenet")]
HAS_COMPILER = importlib.util.find_spec("libtpu") is not None


def lowered(setup: TrainSetup, platform: str) -> str:
    return (
        trace_train_step(setup, setup.abstract_state(), setup.train_pipeline())
        .lower(lowering_platforms=(platform,))
        .as_text()
    )


def test_the_cpus_own_convolutions_do_not_reach_a_program_for_a_tpu():
    """The same trace has them in a program for one CPU."""
    config = Config(model=ModelConfig(name="lenet5"))
    setup = make_setup(config, outline(config.data, 64), sharding.make_mesh(jax.devices()[:1]))
    setup = dataclasses.replace(setup, model=models.create("shallow_cnn", num_classes=10))
    assert "custom_call" not in lowered(setup, "tpu")
    assert ("fcnn_onednn" in lowered(setup, "cpu")) == cpu_convolutions().startswith("oneDNN")


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGENET)
def test_the_presets_for_imagenet_are_lowered_for_a_tpu(name):
    config = presets.load_preset(name)
    setup = make_setup(config, outline(config.data, config.train.batch_size), sharding.make_mesh())
    assert (len(setup.dataset.classes), config.precision) == (1000, "bfloat16")
    program = lowered(setup, "tpu")
    assert "custom_call" not in program.replace("custom_call @Sharding", "")
    assert f"tensor<{config.train.batch_size}x{config.data.image_size}x{config.data.image_size}x3xui8>" in program
    assert "xbf16>" in program


PROGRAM = """
  %all-reduce.1 = f32[16]{0:T(128)S(1)} all-reduce(%x), channel_id=2, to_apply=%sum
  %all-reduce.9 = (f32[3,3,16,32]{3,2,1,0:T(8,128)}, bf16[10]{0}) all-reduce(%x, %y), channel_id=3
  %all-gather-start = (f32[2]{0}, f32[8]{0}) all-gather-start(%x), dimensions={0}
  %all-gather-done = f32[8]{0} all-gather-done(%all-gather-start)
  %get-tuple-element.1 = f32[16]{0} get-tuple-element(%all-reduce.9), index=0
"""


def test_the_step_is_that_of_the_weights_images(monkeypatch):
    """Gray digits have three channels where the weights' mean and standard deviation have."""
    monkeypatch.setattr(plan, "devices", lambda _: jax.devices()[:1])
    setup = plan.build_setup(presets.load_preset("transfer"), "v5e:1x1")
    assert setup.dataset.image_shape == (16, 16, 3)
    assert setup.abstract_state().params["stem_conv"]["kernel"].shape == (3, 3, 3, 16)
    assert plan.padding_waste(setup, 128)[0] > 0.5


def test_collectives_are_read_off_a_programs_text():
    statistics, gradients, gathered = plan.collectives(PROGRAM)
    assert statistics == plan.Collective("all-reduce", 1, 64, gradients=False)
    assert gradients == plan.Collective("all-reduce", 2, 4 * 9 * 16 * 32 + 20, gradients=True)
    assert gathered == plan.Collective("all-gather", 1, 32, gradients=False)


def test_padding_is_what_rounding_channels_up_to_tiles_adds():
    config = Config(model=ModelConfig(name="mlp"))  # 64 -> 256 -> 128 -> 10
    setup = make_setup(config, outline(config.data, 64), sharding.make_mesh())
    useful, whole = 64 * 256 + 256 * 128 + 128 * 10, 128 * 256 + 256 * 128 + 128 * 128
    share, layers = plan.padding_waste(setup, 128)
    assert share == pytest.approx(1 - useful / whole)
    assert layers[0] == ("hidden1", pytest.approx(64 * 256 / whole))


@pytest.mark.parametrize("most", [1, 7, 100, 256, 300])
def test_the_largest_batch_that_fits_is_found_to_an_eighth(most, monkeypatch):
    tried = []

    def compiled(config, target):
        tried.append(config.train.batch_size)
        if config.train.batch_size > 4 * most:
            raise plan.TooLarge
        return config.train.batch_size

    monkeypatch.setattr(plan, "devices", lambda target: range(4))
    monkeypatch.setattr(plan, "plan", compiled)
    found: Any = plan.fit(Config(train=TrainConfig(batch_size=256)), "v5e:2x2", tried.append)
    assert found / 4 <= most < found / 4 * 8 / 7 + 1
    assert len(tried) < 2 * (2 + 3 + math.log2(64))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "fcnn plan needs a preset"),
        (["--config", "resnet"], "needs --target CHIP:SHAPE, like v5e:2x4"),
        (["--config", "resnet", "--target", "v9:2x2"], "known: v5e, v5p, v6e; a target is v5e:2x4"),
        (["--config", "resnet", "--target", "v6e:2x3"], "known: v6e:1x1, v6e:2x2, v6e:2x4"),
        (["--config", "resnet", "--target", "v6e:2x2", "--parallel.mode", "pmap"], "needs --parallel.mode jit"),
    ],
)
def test_what_can_not_be_planned_is_answered_in_a_line(options, words, capsys):
    assert cli.main(["plan", *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(plan.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[tpu\]'"):
        plan.devices("v5e:2x4")


@pytest.mark.parametrize(("grad_accum_steps", "norm"), [(1, "global"), (2, "per_device")])
def test_all_gradients_are_reduced_in_one_all_reduce(grad_accum_steps, norm):
    """Not one for each parameter, nor, where devices run programs of their own, for each micro-batch: it stands behind
    the loop. In one program for all devices (jit, global) XLA leaves it inside."""
    train = dataclasses.replace(CONFIG.train, grad_accum_steps=grad_accum_steps)
    config = dataclasses.replace(CONFIG, train=train, parallel=ParallelConfig(batch_norm=norm))
    setup = dataclasses.replace(experiment(config, 4), model=models.create("mlp", num_classes=10))
    program = trace_train_step(setup, setup.abstract_state(), setup.train_pipeline()).lower().compile().as_text() or ""
    before, entry = program.split("\nENTRY ")
    assert [one.arrays >= 3 for one in plan.collectives(entry) if one.gradients] == [True]
    assert not any(one.gradients for one in plan.collectives(before))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="libtpu isn't installed")
def test_a_step_is_compiled_for_tpu_slices(tmp_path, fcnn):
    for target, chips in (("v5e:2x2", 4), ("v6e:1x1", 1), ("v5p:2x2x1", 4)):
        options = ("--config", "resnet", "--model.name", "mlp", "--train.batch-size", "512", "--json")
        told = fcnn("plan", "--target", target, *options, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout)
        assert (found["chips"], found["batch"], found["fits"]) == (chips, 512 // chips, True)
        assert 0 < found["needed"] < found["available"]
        products = 2 * 3 * 512 // chips * (64 * 256 + 256 * 128 + 128 * 10)  # forward, and both gradients
        assert 0.7 * products < found["flops"] < 1.5 * products
        assert [one["arrays"] >= 6 for one in found["collectives"] if one["gradients"]] == [True] * (chips > 1)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="libtpu isn't installed")
def test_what_does_not_fit_is_told(tmp_path, fcnn):
    options = (
        "--config",
        "resnet",
        "--model.name",
        "lenet5",
        "--data.image-size",
        "32",
        "--train.batch-size",
        "8388608",
    )
    told = fcnn("plan", "--target", "v5e:1x1", *options, cwd=tmp_path)
    assert told.returncode == 1, told.stderr
    assert "does not fit" in told.stdout
    assert "15.75G" in told.stdout
