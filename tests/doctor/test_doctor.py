"""`fcnn doctor`: what it says of a sound installation, and of each thing that can be broken in one."""

import importlib.metadata
import os

import pytest
from harness import ROOT, start

from fcnn import doctor
from fcnn.doctor import compute, folders, host, packages
from fcnn.doctor.report import Report, size


def test_of_a_sound_installation_it_prints_the_facts_and_nothing_personal(tmp_path, fcnn):
    home = tmp_path / "alice"
    home.mkdir()
    cache = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "XDG_CACHE_HOME": f"{home}/cache",
        "TFDS_DATA_DIR": f"{home}/sets",
    }
    cache |= {"JAX_COMPILATION_CACHE_DIR": "", "FCNN_TESTS_TOKEN": "s3cret"}
    found = fcnn("doctor", cwd=home, env=cache)
    assert found.returncode == 0, found.stdout + found.stderr
    lines = {line.split()[0]: line for line in found.stdout.splitlines() if line.strip()}
    for name in ("fcnn", "Python", "packages", "system", "processor", "memory", "open", "devices", "convolutions"):
        assert name in lines
    assert f"jax {importlib.metadata.version('jax')}" in lines["packages"]
    assert "cpu:0" in lines["devices"]
    assert lines["compiled"].split()[1].startswith("~/cache/fcnn/compiled/")
    assert lines["data"].split()[2] == "~/sets:"
    assert "JAX_PLATFORMS=cpu" in found.stdout
    assert "Nothing wrong was found." in found.stdout
    assert "alice" not in found.stdout
    assert "s3cret" not in found.stdout


def test_what_jax_dies_of_is_a_problem_and_the_rest_is_still_there(tmp_path):
    """With nothing but the standard library, as where an installation was interrupted."""
    for name, text in {"jax": "import os; os.abort()", "tyro": "1 / 0", "numpy": "1 / 0", "psutil": "1 / 0"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    with start("-m", "fcnn.doctor", cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert not err
    assert ", in the step 'devices'" in out
    assert "fcnn.doctor.host.memory failed: ZeroDivisionError" in out
    assert "processor" in out
    assert "environment" in out


SOUND = {"devices": {"backend": "cpu", "devices": ["cpu:0 (cpu)"], "compiled": None}, "convolutions": "oneDNN 3.2.0"}
PROBES = [
    (({**SOUND, "product": 1e-7}, {}, ""), None),
    (({**SOUND, "product": 0.5}, {}, ""), "a convolution is wrong, by 5.0e-01"),
    (({**SOUND, "product": float("nan")}, {}, ""), "a convolution is wrong"),
    ((SOUND | {"convolutions": "XLA (no libdnnl.so.3)"}, {}, ""), "oneDNN is not used: XLA (no libdnnl.so.3)"),
    (({}, dict.fromkeys(("devices", "product"), "RuntimeError: no cuda"), ""), "devices: RuntimeError: no cuda"),
    (({}, {}, "it did not end within 120 s"), "did not end"),
]


@pytest.mark.parametrize(("probe", "problem"), PROBES)
def test_what_the_probe_finds_is_judged(probe, problem, monkeypatch):
    monkeypatch.setattr(compute, "_probe", lambda: probe)
    monkeypatch.setattr(compute.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(compute.sys, "platform", "linux")
    monkeypatch.delenv("FCNN_CPU_CONV", raising=False)
    report = Report()
    compute.devices(report)
    assert len(report.problems) == (problem is not None)
    assert (problem or "") in report.text()


def test_a_package_that_is_too_old_or_missing_is_a_problem(monkeypatch):
    versions = {"jaxlib": "0.0.1", "scipy": None}
    version = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: versions.get(name, version(name)))
    report = Report()
    packages.requirements(report)
    text = report.text()
    assert "and 0.0.1 is installed" in text
    assert "jax needs scipy" in text
    assert "pip install 'jaxlib" in text
    assert {what.split()[0] for what, _ in report.problems} <= set(packages.REQUIRING)


def test_a_folder_that_cannot_be_written_is_a_problem_and_one_that_is_missing_is_not(tmp_path):
    (tmp_path / "file").touch()
    report = Report()
    report.values["probe"] = {"folders": {"data sets": str(tmp_path / "a/b"), "weights": str(tmp_path / "file/c")}}
    folders.folders(report)
    ((what, fix),) = report.problems
    assert what.startswith("weights: ")
    assert "FCNN_CACHE" in fix
    assert "not there yet" in report.text()
    assert not (tmp_path / "a").exists()


def test_more_threads_than_cores_are_a_problem(monkeypatch):
    monkeypatch.setattr(host, "cores", lambda: 2)
    for threads, count in (("2", 0), ("3", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        report = Report()
        host.processor(report)
        assert len(report.problems) == count


def test_a_check_that_fails_is_a_problem(monkeypatch):
    def broken(report):
        raise OSError("the disk is on fire")

    monkeypatch.setattr(doctor, "CHECKS", (broken, host.environment))
    report = doctor.diagnose()
    assert "the disk is on fire" in report.problems[0][0]
    assert report.facts


def test_sizes_have_their_units():
    assert [size(n) for n in (0, 999, 1234, 5e6, 12.34e9)] == ["0 bytes", "999 bytes", "1.2 kB", "5.0 MB", "12.3 GB"]
