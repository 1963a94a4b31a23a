"""The Nox door: sessions for what needs the tool's own environment.

It imports nothing of ours (the ``nox`` script cannot import a package from the repository
root) and drives ``sys.executable``, so that it uses the environment it was started from.
Nox itself ends with 0, 1, 2, 3 or 130 only; a build's typed outcome is in its ``result.json``.
"""

from __future__ import annotations

import os
import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

PATHS = ("tests/engine", "tests/golden", "tests/unit")
TOGETHER = ("--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder")
"""Engine tests mostly wait, so three files run at a time whatever the cores; the first ones found begin first."""
ALONE = ("tests/engine/test_slurm_real.py", "tests/engine/test_pull_real.py")
"""A cluster that lets nodes and jobs go on a busy machine, and a prune that harms every other pull."""


def run(session: nox.Session, *command: str) -> None:
    """Run a module of our Python.

    Ctrl-C waits for the child's own clean-up, however long it takes.  A SIGTERM to Nox reaches
    no child: ours watch the process that ``NOX_PID`` names and end with it.
    """
    session.run(
        sys.executable,
        "-m",
        *command,
        external=True,
        env={"NOX_PID": str(os.getpid())},
        interrupt_timeout=None,
        terminate_timeout=None,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the layer rules."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict type checking."""
    run(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """All that needs no GPU; engine tests are left out, loudly, where no engine answers. ``-- PATHS`` narrows."""
    if session.posargs:
        run(session, "pytest", *session.posargs)
    else:
        run(session, "pytest", *ALONE)
        run(session, "pytest", *TOGETHER, *(f"--ignore={each}" for each in ALONE), *PATHS)


@nox.session(name="hip-compile")
def hip_compile(session: nox.Session) -> None:
    """Compile kernels/ for every arch; ``-- --arch "gfx942;gfx950"`` narrows, ``-- --project DIR`` is another one."""
    run(session, "ci", "hip-compile", *session.posargs)


@nox.session(name="rocm-tests")
def rocm_tests(session: nox.Session) -> None:
    """What one GPU, or none, can prove, in the stack's test image; ``-- --plan`` shows it."""
    run(session, "ci", "test", "rocm-tests", *session.posargs)


@nox.session(name="rocm-distributed-tests")
def rocm_distributed_tests(session: nox.Session) -> None:
    """Several ranks on one node, on its GPUs or on the CPU; ``-- --require-gpu`` is red where anything is skipped."""
    run(session, "ci", "test", "rocm-distributed-tests", *session.posargs)


@nox.session(name="shutdown-timeout")
def shutdown_timeout(session: nox.Session) -> None:
    """The engine leaves in time on SIGTERM and leaves nothing behind."""
    run(session, "ci", "test", "shutdown-timeout", *session.posargs)


@nox.session(name="deepep-data-parallel")
def deepep_data_parallel(session: nox.Session) -> None:
    """Data parallel with the all-to-all backend the platform has."""
    run(session, "ci", "test", "deepep-data-parallel", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """The world fails on purpose: engine, registry, disk, signals."""
    run(session, "pytest", *(session.posargs or ["tests/faults"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated reference anew; fails when it was not committed as it is now."""
    run(session, "pytest", "-q", "tests/golden/test_reference.py", "tests/golden/test_migration.py", "--update-golden")
    session.run("git", "diff", "--exit-code", "--", "docs/reference", "docs/migration.md", external=True)


@nox.session
def wheel(session: nox.Session) -> None:
    """Make, audit and bundle the wheel of kernels/ in dist/; ``-- --trial`` for a tree with changes."""
    run(session, "ci", "wheel", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against bake and write docs/benchmarks.md; ``-- --check`` exits with 1 past a bound."""
    run(session, "tests.bench", *session.posargs)
