"""Git in tests: real repositories, without this machine's settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

AUTHOR = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
"""Options of a git that has to commit wherever it runs."""


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch, settings: str = "") -> None:
    """Let git read a home below ``folder`` and nothing else; ``settings`` are further lines of its configuration."""
    home = folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n name = t\n email = t@example.invalid\n[init]\n defaultBranch = main\n"
        f'[protocol "file"]\n allow = always\n[commit]\n gpgsign = false\n{settings}'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)


def run(folder: Path, *arguments: str) -> str:
    """What git said on stdout; a failure is the test's."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace").strip()
