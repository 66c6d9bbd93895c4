"""The result of a check: passed or not, the reason, and what to do about it."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """A thing that was checked."""

    name: str
    verdict: Literal["pass", "FAIL", "skip"]
    """FAIL, or skip where there is nothing to check: no batch norm, no validation split."""
    reason: str
    """What was measured, with its numbers."""
    hint: str = ""
    """What to do where it fails."""

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return self.verdict == "FAIL"


def check(name: str, ok: bool, reason: str, hint: str) -> CheckResult:
    """A check that passes if `ok`."""
    return CheckResult(name, "pass" if ok else "FAIL", reason, hint)


def skip(name: str, reason: str) -> CheckResult:
    """A check of something that isn't there."""
    return CheckResult(name, "skip", reason)
