"""``python -m ci VERB`` (installed: ``rocm-ci VERB``): the door for pipelines.

Everything is imported inside ``main``, so that Ctrl-C during the imports ends quietly too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Perform the command line ``argv`` (default: this process's); returns the exit code."""
    try:
        from .one_shot import spare_the_collector

        spare_the_collector()
        from .command_line import run

        return run(sys.argv[1:] if argv is None else argv, sys.stdout, sys.stderr)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
