"""Real images from files to a tested network, in processes of their own; FCNN_SHARED_DATA says where they are."""

import json
import shutil
import time

import pytest
from harness import comparable, start
from images import damage, pixels
from PIL import Image

from fcnn.report import read_records

pytestmark = pytest.mark.slow

CIFAR = (
    "-m fcnn train --config cifar10_resnet20 --model.width-multiplier 0.25 --train.batch-size 1024 --train.epochs 2 "
    "--train.log-steps 1 --train.checkpoint-steps 10"
)


def test_two_epochs_of_cifar10_go_on_exactly_after_a_kill_however_they_are_fed(real, tmp_path):
    """A quarter of the preset's width and 43 steps an epoch; tests/test_resume.py compares states as well."""

    def launched(pipeline):
        options = ["--data.manual-dir", str(real), "--data.pipeline", pipeline, "--workdir", pipeline]
        return start(*CIFAR.split(), *options, cwd=tmp_path)

    with launched("stream") as process:
        while process.poll() is None and not (tmp_path / "stream/checkpoints/60").exists():
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=120)
    assert 43 < max(record["step"] for record in read_records(tmp_path / "stream")) < 86
    for pipeline in ("stream", "device"):
        with launched(pipeline) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert ("Continuing from step 60 of 86" in out) == (pipeline == "stream")
    stream, device = (comparable(tmp_path / pipeline) for pipeline in ("stream", "device"))
    assert stream == device
    assert device[-1]["kind"] == "test"
    assert device[-1]["count"] == 10_000
    assert device[-1]["top1"] > 0.13  # by chance 0.1, with a standard deviation of 0.003; 0.19 was measured


def test_flowers_with_damaged_files_among_them_are_refused_by_name_or_trained_without(real, tmp_path, fcnn):
    root = tmp_path / "flowers"
    shutil.copytree(real / "flowers", root)
    bad = damage(root)
    for name in bad:
        (root / name).rename(root / "daisy" / name.replace("/", "-"))
    (root / "a").rmdir()
    (root / "b").rmdir()
    Image.fromarray(pixels(5, 90, 90)).save(root / "rose/png.png")
    (root / "rose/png.png").rename(root / "rose/png.jpg")  # readable all the same
    command = ["train", "--config", "folder", "--data.name", "folder:flowers", "--train.steps", "8", "--json"]
    refused = fcnn(*command, cwd=tmp_path)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 2
    assert f"20 of the {4317 + 21:,} files in {root} can't be used: daisy/a-half.jpg (damaged: " in refused.stderr
    assert not list((tmp_path / "runs").iterdir())
    small = ["--model.width-multiplier", "0.25", "--data.image-size", "32"]
    done = fcnn(*command, *small, "--data.on-bad-image", "skip", "--workdir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["skipped"] == 20
    assert "20 files that can't be read were left out" in done.stderr
    left_out = json.loads((tmp_path / "run/data.json").read_text())["skipped"]
    assert sorted(entry.rsplit(" (")[0] for entry in left_out) == sorted(f"daisy/{n.replace('/', '-')}" for n in bad)
    records = read_records(tmp_path / "run")
    assert records[-1]["step"] == 8
