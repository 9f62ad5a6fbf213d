"""Installs the testbed: `python -m tests.testbed [PART...]`."""

import sys

from tests.testbed import PARTS, install

for name in sys.argv[1:] or PARTS:
    print(f"{name}: {install(name)}")
