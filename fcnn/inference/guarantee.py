"""How long an exported program can be read, as far as that is known where it is written.

`jax.export` promises that a program is read by releases of jaxlib up to 6 months newer and 3 weeks older than the one
that wrote it (https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees). What counts is when they
were released, not when the program is written or read, and an installed jaxlib doesn't know when it was released. That
was not later than today, so the promise ends 6 months from today or earlier.
"""

import calendar
import datetime
from typing import Any

import jax
import jaxlib.version

MONTHS = 6


def reading_guarantee(today: datetime.date | None = None) -> dict[str, Any]:
    """Returns what wrote a program today, and what is promised of its readers, as JSON can write it.

    Args:
      today: the day of writing; by default what the clock says.

    Returns:
      {"jax", "jaxlib": versions, "date": of writing, "no_promise_after": a date, "promise": a sentence}.
    """
    today = today or datetime.date.today()
    end = _months_after(today, MONTHS).isoformat()
    versions = {"jax": jax.__version__, "jaxlib": jaxlib.version.__version__}
    promise = (
        f"JAX {versions['jax']} with jaxlib {versions['jaxlib']} can always read it; jax.export promises the same of "
        f"jaxlib releases up to {MONTHS} months newer, so of none after {end}"
    )
    return versions | {"date": today.isoformat(), "no_promise_after": end, "promise": promise}


def _months_after(day: datetime.date, months: int) -> datetime.date:
    """Returns the same day of a later month, or that month's last."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return datetime.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
