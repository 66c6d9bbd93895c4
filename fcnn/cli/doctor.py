"""`fcnn doctor`: system information for a bug report, and problems with their fixes."""

import dataclasses

from fcnn.cli.parse import parse
from fcnn.doctor import diagnose


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """Print system information for a bug report (versions, processor, memory, devices, folders and environment
    variables) and problems with their fixes. The home folder is written as ~. The exit code is 1 if there is a problem.
    If fcnn doesn't start, use python -m fcnn.doctor."""


def doctor_command(args: list[str]) -> int:
    """`fcnn doctor`."""
    parse(DoctorArgs, args, "fcnn doctor")
    report = diagnose()
    print(report.text())
    return 1 if report.problems else 0
