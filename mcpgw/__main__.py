"""Run the command line: ``python -m mcpgw``."""

import sys

from mcpgw.cli import main

if __name__ == "__main__":
    sys.exit(main())
