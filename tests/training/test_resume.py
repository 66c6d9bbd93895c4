"""A run that is killed, again and again, ends with the very bits of one that isn't. Real processes, real signals.

What is compared: every array of the final checkpoint (params, batch statistics, moments, averages, key, step) byte by
byte, and every line of metrics.jsonl but for what a clock says (images_per_second, time).
"""

import random
import signal
import time

import chex
import pytest
from finals import final_state, last_step
from harness import comparable, start

from fcnn import cli

STEPS = 50
# Dropout, crops, flips, accumulation, averages and a schedule: everything that has a state or is random.
OPTIONS = (
    "--config resnet --model.norm batch --model.dropout 0.2 --augment.crop-padding 1 --augment.flip "
    "--train.grad-accum-steps 2 "
    "--train.ema-decay 0.9 --train.batch-size 32 --train.eval-steps 23 --train.log-steps 1 --train.checkpoint-steps 5 "
    f"--train.steps {STEPS} --optim.clip-norm 1 --workdir"
).split()


def launch(workdir, model):
    return start("-m", "fcnn", "train", "--model.name", model, *OPTIONS, workdir.name, cwd=workdir.parent)


def wait_and_kill(process, workdir, number, target) -> int | None:
    """Sends the signal once `target` steps are on record, or while a checkpoint is being written if it is "saving"."""
    began, first = time.monotonic(), last_step(workdir)
    while process.poll() is None:
        assert time.monotonic() - began < 300
        if target == "saving":
            if last_step(workdir) > first and list((workdir / "checkpoints").glob("*tmp*")):
                break
        elif last_step(workdir) >= target:
            break
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize(("model", "kills"), [("shallow_cnn", 2), pytest.param("resnet20", 12, marks=pytest.mark.slow)])
def test_a_run_killed_often_is_the_run_that_was_not(tmp_path, model, kills):
    rng = random.Random(kills)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with launch(whole, model) as process:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    targets: list[int | str] = [*sorted(rng.sample(range(1, STEPS - 5), kills))]
    targets[kills // 2] = "saving"
    for i, target in enumerate(targets):
        number = [signal.SIGTERM, signal.SIGKILL][i % 2]
        with launch(killed, model) as process:
            code = wait_and_kill(process, killed, number, target)
        assert code in ((143,) if number == signal.SIGTERM else (-signal.SIGKILL,)), (target, code)
    with launch(killed, model) as process:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "Continuing from step" in out
    chex.assert_trees_all_equal(final_state(killed, STEPS), final_state(whole, STEPS))
    assert comparable(killed) == comparable(whole)
    assert [record["step"] for record in comparable(whole) if record["kind"] == "steps"] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_streamed_run_killed_within_an_epoch_is_the_one_that_was_fed_from_the_device(tmp_path):
    """The two ways to feed, one interrupted and one not, in optimized processes: the same bits."""
    options = ["--train.epochs", "2", "--train.checkpoint-steps", "7", "--train.log-steps", "1"]
    options += ["--train.batch-size", "16", "--model.name", "shallow_cnn", "--augment.flip"]

    def launched(pipeline):
        return start("-m", "fcnn", "train", "--config", "resnet", *options, "--data.pipeline", pipeline,
                     "--workdir", pipeline, cwd=tmp_path)  # fmt: skip

    with launched("stream") as process:
        saved = tmp_path / "stream/checkpoints"
        while process.poll() is None and not any(path.name.isdigit() for path in saved.glob("*")):
            time.sleep(0.002)
        process.kill()
        process.communicate(timeout=120)
    assert last_step(tmp_path / "stream") < 160
    for pipeline in ("stream", "device"):
        with launched(pipeline) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert ("Continuing from step" in out) == (pipeline == "stream")
    assert comparable(tmp_path / "stream") == comparable(tmp_path / "device")
    chex.assert_trees_all_equal(final_state(tmp_path / "stream", 160), final_state(tmp_path / "device", 160))


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_no_more_than_the_steps_after_the_one_before(tmp_path, monkeypatch, capsys):
    """Overwritten data, as after a full disk or a failing one; the end is that of a run that wasn't damaged."""
    monkeypatch.chdir(tmp_path)

    def run(workdir, epochs):
        options = ["--model.name", "mlp", "--optim.schedule", "constant", "--train.epochs", epochs]
        assert cli.main(["train", "--config", "resnet", *options, "--workdir", workdir]) == 0
        return capsys.readouterr().out

    run("whole", "6")
    run("run", "4")
    for path in (tmp_path / "run/checkpoints/80/state/ocdbt.process_0/d").iterdir():
        path.write_bytes(b"damaged")
    out = run("run", "6")
    assert out.startswith("Checkpoint run/checkpoints/80 can't be read")
    assert out.splitlines()[0].endswith("; using the one before.")
    assert "Continuing from step 40 of 120" in out
    assert comparable(tmp_path / "run") == comparable(tmp_path / "whole")
