"""What the check says: a verdict on one thing that could be wrong, its reason, and what to do about it."""

import dataclasses
from typing import Literal

Verdict = Literal["pass", "FAIL", "skip"]


@dataclasses.dataclass(frozen=True)
class Line:
    """A thing that was looked at."""

    name: str
    verdict: Verdict
    """FAIL, or skip where there is nothing to look at: no batch norm, no validation split."""
    reason: str
    """What was measured, with its numbers."""
    hint: str
    """What to do where it fails."""

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return self.verdict == "FAIL"


def judge(name: str, ok: bool, reason: str, hint: str) -> Line:
    """A line that passes if `ok`."""
    return Line(name, "pass" if ok else "FAIL", reason, hint)


def skip(name: str, reason: str) -> Line:
    """A line about something that isn't there."""
    return Line(name, "skip", reason, "")
