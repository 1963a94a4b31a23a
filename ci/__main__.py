"""``python -m ci VERB`` (installed: ``rocm-ci VERB``): the door for pipelines.

Everything that reads a file is imported inside ``main``, so that Ctrl-C during the imports ends quietly too.
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Perform the command line ``argv`` (default: this process's); returns the exit code."""
    try:
        from .one_shot import spare_the_collector

        spare_the_collector()
        from .command_line import run

        return run(sys.argv[1:] if argv is None else argv, sys.stdout, sys.stderr)
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:  # until 3.12 Python wraps what comes while it makes a class
        if isinstance(error.__cause__, KeyboardInterrupt):
            return 130
        raise


if __name__ == "__main__":
    sys.exit(main())
