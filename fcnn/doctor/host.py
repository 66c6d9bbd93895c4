"""The machine: system, processor, memory, limits, and the environment variables that matter."""

import os
import platform
import re
from pathlib import Path

from fcnn.doctor.report import Report, size
from fcnn.utils.cores import cores

INSTRUCTIONS = {
    "x86": ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"),
    "arm": ("asimd", "bf16", "sve"),
}
"""Those that decide how fast convolutions are."""
VARIABLES = re.compile(
    r"(FCNN|JAX|XLA|LIBTPU|TPU|TF_CPP|TFDS|OMP|GOMP|KMP|CUDA|NCCL)_\w+|NPROC|XDG_CACHE_HOME|NVIDIA_VISIBLE_DEVICES|"
    r"LD_PRELOAD|LD_LIBRARY_PATH|NO_COLOR"
)
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY")
FEWEST_FILES = 128
LOW_MEMORY = 2e9


def system(report: Report) -> None:
    """Add the operating system."""
    libc = " ".join(platform.libc_ver())
    report.fact("system", f"{platform.system()} {platform.release()}, {platform.machine()} {libc}")


def processor(report: Report) -> None:
    """Add the processor, how much of it may be used, and the instructions that matter."""
    text = _read("/proc/cpuinfo")
    fields = dict(re.findall(r"^(\w[\w ]*?)\s*:\s*(.*)$", text, re.MULTILINE))
    model = fields.get("model name") or platform.processor() or platform.machine()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    family = "arm" if platform.machine().lower() in ("aarch64", "arm64") else "x86"
    known = ", ".join(f"{'' if name in flags else 'no '}{name}" for name in INSTRUCTIONS[family])
    usable, present = cores(), os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    share = f", {int(quota) / int(period):.1f} of them at a time (container)" if quota.isdecimal() else ""
    report.fact("processor", model)
    report.fact("processor", f"{usable} of {present} cores usable{share}" + (f"; {known}" if flags else ""))
    if flags and family == "x86" and "avx" not in flags:
        report.problem("this processor has no AVX instructions, which jaxlib needs", "use another machine")
    if (wish := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(wish) > usable:
        report.problem(
            f"OMP_NUM_THREADS={wish} starts more threads than the {usable} usable cores, which slows them down",
            f"unset OMP_NUM_THREADS, or set it to {usable}",
        )


def memory(report: Report) -> None:
    """Add how much memory there is."""
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    import psutil  # here, so that a report without it has the rest

    found = psutil.virtual_memory()
    bound = f", at most {size(int(limit))} for this container" if limit.isdecimal() else ""
    report.fact("memory", f"{size(found.available)} of {size(found.total)} available{bound}")
    if min(found.available, int(limit) if limit.isdecimal() else found.available) < LOW_MEMORY:
        report.problem("less than 2 GB of memory are available", "end other programs, or use a smaller batch")


def limits(report: Report) -> None:
    """Add the limit on open files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = ["unlimited" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)]
    report.fact("open files", f"at most {shown[0]}, can be raised to {shown[1]}")
    if hard != resource.RLIM_INFINITY and hard < FEWEST_FILES:
        report.problem(f"only {hard} files may be open at once, and fcnn needs {FEWEST_FILES}", "raise ulimit -n")


def environment(report: Report) -> None:
    """Add the environment variables that change what is computed, where, and how fast."""
    names = sorted(name for name in os.environ if VARIABLES.fullmatch(name))
    for name in names:
        report.fact("environment", f"{name}={'(hidden)' if SECRET.search(name) else os.environ[name]}")
    if not names:
        report.fact("environment", "no variable that matters is set")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system
        return ""
