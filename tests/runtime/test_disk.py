"""Where a disk doesn't take what is written: a line says what and why, and the same command goes on later."""

import subprocess
import sys

import pytest

from fcnn import cli
from fcnn.runtime import limits

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


def test_without_a_home_folder_a_line_says_what_to_set(tmp_path, monkeypatch, capsys):
    for name in ("HOME", "TFDS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert cli.main([*TRAIN, "--workdir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "fcnn: there is no home folder for data sets; name a folder by TFDS_DATA_DIR\n"
    assert not (tmp_path / "run").exists()


def test_a_read_only_folder_of_data_sets_is_named_and_tensorflow_is_not(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "tensorflow_datasets"
    folder.write_bytes(b"")  # root may write into any folder
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert cli.main(["data", "prepare", "digits"]) == 2
    message = (
        f"digits can't be prepared: {folder}/downloads: Not a directory; TFDS_DATA_DIR names the folder to prepare in"
    )
    assert capsys.readouterr().err == f"fcnn: {message}\n"


@pytest.mark.skipif(limits.resource is None, reason="Windows has no such limit")
@pytest.mark.parametrize(("soft", "hard", "raised"), [(256, 1 << 20, 4096), (256, 512, 512), (8192, 1 << 20, None)])
def test_a_limit_on_open_files_is_raised_as_far_as_that_goes(monkeypatch, soft, hard, raised):
    calls = []
    monkeypatch.setattr("resource.getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr("resource.setrlimit", lambda kind, limits: calls.append(limits))
    limits.allow_open_files()
    assert calls == ([] if raised is None else [(raised, hard)])


@pytest.mark.skipif(limits.resource is None, reason="Windows has no such limit")
def test_too_few_open_files_are_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (20, 20))
    assert cli.main([*TRAIN, "--workdir", str(tmp_path / "run")]) == 2
    message = "only 20 files may be open at once, and fcnn needs 128: raise the limit (ulimit -n)"
    assert capsys.readouterr().err == f"fcnn: {message}\n"
    assert not (tmp_path / "run").exists()
