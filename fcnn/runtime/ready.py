"""What every command that computes does before JAX starts: threads are chosen, memory and compiled programs are kept.

Compilation is a third of a short run's time on a CPU. JAX's own persistent cache keeps programs, so that the second run
of a network starts at once; here is where it lies.
"""

import contextlib
import hashlib
import platform
from pathlib import Path

from fcnn.runtime.compiled import write_whole_programs
from fcnn.runtime.limits import allow_open_files
from fcnn.runtime.memory import keep_memory
from fcnn.utils.errors import UserError
from fcnn.utils.files import cache_folder


def get_ready() -> None:
    """Makes the most of a CPU (`fcnn.runtime`), and turns JAX's persistent compilation cache on, below
    `$XDG_CACHE_HOME/fcnn` or `~/.cache/fcnn`.

    JAX_COMPILATION_CACHE_DIR takes precedence, and JAX_ENABLE_COMPILATION_CACHE=false turns it off. The folder may be
    deleted at any time; where it can't be written, JAX does without.
    """
    allow_open_files()
    keep_memory()

    import jax

    from fcnn.runtime.threads import one_pool_thread

    one_pool_thread()
    write_whole_programs()
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]  # jax makes its options' attributes at run time
        with contextlib.suppress(UserError):  # no home folder
            jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled" / _processor()))


def _processor() -> str:
    """A name for this kind of processor: a program for one may have instructions that another in the same network of
    home folders hasn't."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features")))  # of x86-64, of aarch64
    except (OSError, StopIteration):
        return platform.machine()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:12]}"
