"""How many files a process may have open at once: Orbax's and XLA's threads fail in pages where it is too few."""

from fcnn.utils.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None

FEWEST, USUAL = 128, 4096


def allow_open_files() -> None:
    """Raises this process's limit to the usual number, or as far as the system lets it.

    Raises:
      UserError: that is too few.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = USUAL if hard == resource.RLIM_INFINITY else min(hard, USUAL)
    if most < FEWEST:
        raise UserError(f"only {most} files may be open at once, and fcnn needs {FEWEST}: raise the limit (ulimit -n)")
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
