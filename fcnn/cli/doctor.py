"""`fcnn doctor`: what a bug report needs, and what is wrong."""

import dataclasses

from fcnn.cli.parse import parse
from fcnn.doctor import diagnose


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """Print what a bug report needs: versions, processor, memory, devices, folders and environment variables, and what
    is wrong, with what to do about it. The home folder is written as ~. The exit code is 1 if something is wrong. Where
    fcnn doesn't start, python -m fcnn.doctor does the same."""


def doctor_command(args: list[str]) -> int:
    """`fcnn doctor`."""
    parse(DoctorArgs, args, "fcnn doctor")
    report = diagnose()
    print(report.text())
    return 1 if report.problems else 0
