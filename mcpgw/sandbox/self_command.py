"""How a child process starts this very program, whatever this program was started from."""

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

ISOLATED = "-I"
"""Neither the environment nor the working directory, which a server may write to, decides
what the child imports."""


def self_command() -> tuple[str, ...]:
    """The start of a command line that runs this program; its arguments go behind it.

    It works from any working directory and without any environment variable: from an
    installed package, from a source tree, and from the packages `mcpgw.pyz` unpacked, which
    a child need not unpack or even look for again.
    """
    home = _package_home()
    if home in _searched_anyway():
        return (sys.executable, ISOLATED, "-m", "mcpgw")
    program = (
        f"import sys; sys.path.insert(0, {str(home)!r}); "
        "from mcpgw.cli import main; sys.exit(main())"
    )
    return (sys.executable, ISOLATED, "-c", program)


def _package_home() -> Path:
    spec = find_spec("mcpgw")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))).resolve().parent


def _searched_anyway() -> set[Path]:
    return {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
