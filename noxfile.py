"""The Nox door: sessions for what needs the tool's own environment.

It imports nothing of ours (the ``nox`` script cannot import a package from the repository
root) and drives ``sys.executable``, so that it uses the environment it was started from.
"""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]


def run(session: nox.Session, *command: str) -> None:
    """Run a module of our Python; Ctrl-C waits for the child's own clean-up, however long it takes."""
    session.run(sys.executable, "-m", *command, external=True, interrupt_timeout=None, terminate_timeout=None)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that needs no GPU: unit and golden tests, then the engine tests where an engine answers."""
    run(session, "pytest", *(session.posargs or ["tests/unit", "tests/golden", "tests/engine"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the layer rules."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict type checking."""
    run(session, "mypy")
