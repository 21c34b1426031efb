"""The program: `slimagent` and `python -m slimagent`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Our byte code is written nowhere: we may live in the image that is being looked at."""
    sys.dont_write_bytecode = True
    from slimagent.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
