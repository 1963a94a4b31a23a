"""What we are measured against: PyYAML's plain loader, git's list of files, and one Jinja template.

It does what such generators do, and no more: it takes every file at its word, compares paths by their beginning
(fnmatch for the few with a ``*``), and knows by heart how long an image takes and which queue has how many GPUs.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import jinja2
import yaml

TEMPLATE = Path(__file__).with_name("pipeline_rival.j2")


def main(catalogue: str, base: str) -> int:
    """Write the pipeline of the change since ``base`` to stdout."""
    data = yaml.safe_load(Path(catalogue).read_text())
    suites = {step: name for name, suite in reversed(data["suites"].items()) for step in suite["steps"]}
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    environment.tests["like"] = fnmatchcase
    template = environment.from_string(TEMPLATE.read_text())
    files = changed(base)
    sys.stdout.write(template.render(steps=data["steps"], suites=suites, changed=files, today=str(date.today())))  # noqa: DTZ011
    return 0


def changed(base: str) -> list[str]:
    """The files that differ from where this branch began."""
    ancestor = _git("merge-base", "HEAD", base)
    return _git("diff", "--name-only", ancestor).splitlines()


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
