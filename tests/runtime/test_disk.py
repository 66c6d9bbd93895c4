"""Where a disk doesn't take what is written: a line says what and why, and the same command goes on later."""

import subprocess
import sys

import pytest

from fcnn import cli

TRAIN = ("train", "--config", "resnet", "--data.name", "digits", "--model.name", "mlp", "--train.epochs", "1")


def test_a_folder_that_can_not_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main([*TRAIN, "--workdir", str(tmp_path / "file" / "run")]) == 2
    assert capsys.readouterr().err == f"fcnn: {tmp_path / 'file' / 'run'}: Not a directory\n"


@pytest.mark.slow
def test_a_checkpoint_that_can_not_be_written_is_said_and_the_run_goes_on_later(tmp_path):
    def run(blocks):
        command = ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", sys.executable, "-m", "fcnn", *TRAIN]
        return subprocess.run([*command, "--workdir", tmp_path / "run"], capture_output=True, text=True, timeout=300)

    failed = run(8)
    assert failed.returncode == 2
    message = "a checkpoint can't be written: File too large; those before it are whole"
    assert f"fcnn: {tmp_path / 'run'}/checkpoints: {message}" in failed.stderr.splitlines()  # Orbax's threads end later
    assert run("unlimited").returncode == 0
