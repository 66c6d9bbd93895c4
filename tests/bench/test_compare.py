"""The bench: what it tells follows from what was measured, and both sides are the same network."""

import json
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
import pytest

from fcnn import cli, models
from fcnn.bench import compare
from fcnn.bench import job as jobs
from fcnn.bench.compare import measure
from fcnn.bench.engines import make_setup
from fcnn.bench.job import STANDARD, Job
from fcnn.bench.network_files import write_files
from fcnn.cli import bench_predict
from fcnn.utils.errors import UserError
from fcnn.weights import read_network


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(compare, "_SECONDS", 0.01)


@pytest.mark.parametrize("kind", ["step", pytest.param("eval", marks=pytest.mark.slow)])
def test_a_comparison_in_processes_of_their_own(kind, capsys, tmp_path, monkeypatch):
    """Whose libraries print what they like."""
    (tmp_path / "chatty.py").write_text("import os; os.write(1, b'a word of a C library\\n'); print('a word')")
    (tmp_path / "optax.py").write_text(
        f"import sys; sys.path.remove({str(tmp_path)!r}); del sys.modules['optax']; import optax\n"
        f"sys.modules['optax'] = optax; exec(open({str(tmp_path / 'chatty.py')!r}).read())"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
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
        assert 0 < row["warm_seconds"] != row["ready_seconds"]
        assert row["peak_bytes"] > 1e8
    assert set(found["ratios"]["lax"]) == {"wall", "cpu"}


class Told:
    """A contender that has run: what it measured is given."""

    def __init__(self, logits=None, **rounds):
        self.logits = logits
        self.rounds = [{"wall": wall, "cpu": cpu} for wall, cpu in zip(rounds["wall"], rounds["cpu"], strict=True)]

    def finish(self):
        known = {"multiply_adds": 1000, "compile_seconds": 1.0, "ready_seconds": 2.0, "peak_bytes": 3}
        known |= {} if self.logits is None else {"logits": self.logits}
        return known | {key: sorted(r[key] for r in self.rounds)[1] for key in ("wall", "cpu")}


def test_ratios_are_theirs_by_ours_and_of_several_variants_the_fastest_counts():
    ours = Told(wall=[1, 2, 4], cpu=[1, 1, 2])
    slow, fast = Told(wall=[9, 9, 9], cpu=[9, 9, 9]), Told(wall=[2, 8, 4], cpu=[3, 1, 6])
    gemm = Told(wall=[1, 1, 1], cpu=[1, 1, 1])
    ran: Any = {"gemm": gemm, "fcnn": ours, "torch-eager-nchw": slow, "torch-eager-nhwc": fast}
    found = compare._summary(Job(model="mlp"), ["torch"], ran)
    assert found["contenders"]["torch"]["variant"] == "torch-eager-nhwc"
    assert found["ratios"]["torch"] == {"wall": 2.0, "cpu": 3.0}  # of 2, 4, 1 and of 3, 1, 3
    assert found["contenders"]["fcnn"]["wall"] == 2


def test_engines_that_did_not_run_are_left_out_and_logits_are_compared():
    ours = Told(wall=[1, 2, 4], cpu=[1, 1, 2], logits=[1.0, -4.0, 2.0])
    theirs = Told(wall=[2, 2, 2], cpu=[3, 3, 3], logits=[1.0, -4.0, 2.1])
    ran: Any = {"gemm": Told(wall=[1, 1, 1], cpu=[1, 1, 1]), "fcnn": ours, "stablehlo": theirs}
    found = compare._summary(Job(model="mlp", kind="predict"), ["openvino", "stablehlo"], ran)
    assert found["ratios"] == {"stablehlo": {"wall": 1.0, "cpu": 3.0}}
    assert found["contenders"].keys() == {"fcnn", "stablehlo"}
    assert found["contenders"]["stablehlo"]["difference"] == pytest.approx(0.1 / 4)
    assert "logits" not in found["contenders"]["stablehlo"]


@pytest.mark.parametrize("batch", [1, 3])
def test_engines_give_the_logits_of_the_same_images(batch, tmp_path):
    job = Job(model="lenet5", kind="predict", batch=batch, image_size=32, files=str(tmp_path))
    engines = [name for name in ("stablehlo", "onnxruntime", "openvino") if all(map(find_spec, jobs.ENGINES[name]))]
    write_files(job, engines)
    model = models.create("lenet5", num_classes=10)
    images = np.random.default_rng(1).standard_normal((batch, 32, 32, 3), np.float32)
    want = np.asarray(model.apply(read_network(tmp_path / "model.safetensors").variables, images, train=False))[0]
    for name in ("fcnn", *engines):
        run, facts = make_setup(job, name)
        run(2)
        np.testing.assert_allclose(facts["logits"], want, atol=1e-5 * np.abs(want).max())
    assert make_setup(job, "fcnn")[1]["multiply_adds"] == 651_720


@pytest.mark.slow
def test_answers_in_processes_of_their_own(capsys):
    options = ["--models", "lenet5,mlp", "--batches", "1,2", "--image-size", "32", "--rounds", "2", "--vs", "stablehlo"]
    assert cli.main(["bench", "predict", *options]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["network", "images", "by"]
    assert [row.split()[:3] for row in rows] == [
        [model, batch, who] for model in ("lenet5", "mlp") for batch in "12" for who in ("fcnn", "stablehlo")
    ]
    assert all(float(row.split()[9]) < 1e-4 for row in rows if "stablehlo" in row)


def test_what_is_not_installed_is_left_out_and_what_is_unknown_is_named(capsys, monkeypatch):
    monkeypatch.setattr(bench_predict, "_jobs", lambda models, batches, image_size, engines: print(engines) or ())
    monkeypatch.setitem(jobs.ENGINES, "openvino", ("onnx_of_nobody", "openvino_of_nobody"))
    assert cli.main(["bench", "predict", "--vs", "openvino,stablehlo"]) == 0
    found = capsys.readouterr()
    assert found.err == "without openvino: pip install onnx_of_nobody openvino_of_nobody\n"
    assert found.out.startswith("['stablehlo']\n")
    for arguments, words in (
        (["--vs", "openvno"], "unknown engine 'openvno'; did you mean openvino?"),
        (["--models", "resnet19"], "unknown model 'resnet19'"),
        (["--batches", "1,x"], "--batches, --image-size and --rounds must be at least 1"),
    ):
        assert cli.main(["bench", "predict", *arguments]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_who_cannot_run_is_named(monkeypatch):
    monkeypatch.setitem(jobs.CONTENDERS, "torch", ("torch-eager-nchw",))
    with pytest.raises(UserError, match=r"^no variant of torch runs here$"):
        measure(Job(model="squeezenet1_0", batch=1), ["torch"], rounds=1, log=lambda text: None)


@pytest.mark.parametrize("job", {job.model: job for job in STANDARD}.values(), ids=lambda job: job.model)
def test_pytorch_s_network_is_ours(job):
    torch_side = pytest.importorskip(
        "fcnn.bench.torch_side", exc_type=ImportError, reason="PyTorch, whose side this is, isn't installed"
    )
    if job.model not in torch_side.MODELS:
        pytest.importorskip("timm", reason="torchvision and timm, whose network this is, aren't installed")
    model = models.create(job.model, num_classes=job.classes, **job.options)
    image = jax.ShapeDtypeStruct((1, job.image_size, job.image_size, job.channels), "float32")
    ours = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)["params"]
    assert torch_side.parameters(torch_side.create(job)) == sum(leaf.size for leaf in jax.tree.leaves(ours))


def test_an_unknown_baseline_names_the_nearest(capsys):
    assert cli.main(["bench", "step", "--vs", "lx"]) == 2
    assert capsys.readouterr().err == "fcnn: unknown baseline 'lx'; did you mean lax or flax?\n"
