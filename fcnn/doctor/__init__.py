"""What a bug report needs, and what is wrong with an installation: `fcnn doctor`, or `python -m fcnn.doctor` where the
command itself doesn't start.

Only the standard library is imported here; JAX is, in a process of its own (`fcnn.doctor.probe`), which may crash.
"""

from collections.abc import Callable

from fcnn.doctor import compute, folders, host, packages
from fcnn.doctor.report import Report

CHECKS: tuple[Callable[[Report], None], ...] = (
    packages.versions, packages.requirements, host.system, host.processor, host.memory, host.limits,
    compute.devices, folders.folders, host.environment,
)  # fmt: skip


def diagnose() -> Report:
    """Examine this installation. What can't be examined is a problem, too: nothing is raised."""
    report = Report()
    for check in CHECKS:
        try:
            check(report)
        except Exception as error:  # what is broken may break a check in any way
            name = f"{check.__module__}.{check.__name__}"
            report.problem(f"{name} failed: {type(error).__name__}: {error}", "please report this text as a bug")
    return report
