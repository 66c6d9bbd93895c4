"""The bench: what it tells follows from what was measured, and both sides are the same network."""

import json

import jax
import pytest

from fcnn import cli, models
from fcnn.bench import compare
from fcnn.bench import job as jobs
from fcnn.bench.compare import measure
from fcnn.bench.job import STANDARD, Job
from fcnn.errors import UserError


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(compare, "_SECONDS", 0.01)


@pytest.mark.parametrize("kind", ["step", pytest.param("eval", marks=pytest.mark.slow)])
def test_a_comparison_in_processes_of_their_own(kind, capsys):
    options = ["--model", "lenet5", "--batch", "2", "--image-size", "28", "--rounds", "2", "--json"]
    assert cli.main(["bench", kind, *options]) == 0
    [found] = json.loads(capsys.readouterr().out)["results"]
    assert (found["job"]["model"], found["job"]["kind"]) == ("lenet5", kind)
    assert found["rounds"] == 2
    assert set(found["contenders"]) == {"fcnn", "lax"}
    # 2 x 651,720 multiply-adds an image of three channels, three times that in training.
    flop = 2 * 651_720 * 2 * (3 if kind == "step" else 1)
    for row in found["contenders"].values():
        assert row["images_per_second"] == pytest.approx(2 / row["wall"])
        assert row["gflops"] == pytest.approx(flop / row["wall"] / 1e9)
        assert row["gemm_share"] == pytest.approx(row["gflops"] / found["gemm_gflops"])
        assert row["compile_seconds"] < row["ready_seconds"]
        assert row["peak_bytes"] > 1e8
    assert set(found["ratios"]["lax"]) == {"wall", "cpu"}


@pytest.mark.slow
def test_who_cannot_run_is_named(monkeypatch):
    monkeypatch.setitem(jobs.CONTENDERS, "torch", ("torch-eager-nchw",))
    with pytest.raises(UserError, match=r"^no variant of torch runs here$"):
        measure(Job(model="squeezenet1_0", batch=1), ["torch"], rounds=1, say=lambda text: None)


@pytest.mark.parametrize("job", STANDARD, ids=lambda job: job.model)
def test_pytorch_s_network_is_ours(job):
    torch_models = pytest.importorskip("fcnn.bench.torch_models", exc_type=ImportError)
    model = models.create(job.model, num_classes=job.classes, **job.options)
    image = jax.ShapeDtypeStruct((1, job.image_size, job.image_size, job.channels), "float32")
    ours = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)["params"]
    assert torch_models.parameters(torch_models.create(job)) == sum(leaf.size for leaf in jax.tree.leaves(ours))


def test_an_unknown_contender_names_the_nearest(capsys):
    assert cli.main(["bench", "step", "--vs", "lx"]) == 2
    assert capsys.readouterr().err == "fcnn: unknown contender 'lx'; did you mean lax or flax?\n"
