"""Command lines of Python's installers: which words are packages, and which are options with their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .shell import Command

_PIP = re.compile(r"pip[0-9.]*")
_PYTHON = re.compile(r"python[0-9.]*")
_VERBS = frozenset({"install", "download", "wheel", "sync", "run"})

# An option that is not named here takes no value: a word too many is looked at rather than one too few.
_VALUED = frozenset((
    "--abi", "--allow-hosts", "--allow-insecure-host", "--backend", "--build", "--build-constraint",
    "--build-constraints", "--build-option", "--cache-dir", "--cert", "--client-cert", "--color", "--config-file",
    "--config-setting", "--config-settings", "--config-settings-package", "--constraint", "--constraints",
    "--default-index", "--dest", "--directory", "--env-file", "--exclude-newer", "--exclude-newer-package",
    "--excludes", "--exists-action", "--extra", "--extra-index-url", "--find-links", "--fork-strategy",
    "--global-option", "--group", "--implementation", "--index", "--index-strategy", "--index-url", "--install-dir",
    "--keyring-provider", "--link-mode", "--log", "--no-binary", "--no-binary-package",
    "--no-build-isolation-package", "--no-build-package", "--no-editable-package", "--no-sources-package",
    "--only-binary", "--output-format", "--override", "--overrides", "--pip-args", "--platform", "--prefix",
    "--prerelease", "--prerelease-package", "--progress-bar", "--project", "--proxy", "--python", "--python-platform",
    "--python-version", "--refresh-package", "--reinstall-package", "--report", "--requirement", "--requirements",
    "--resolution", "--resume-retries", "--retries", "--root", "--root-user-action", "--script-dir", "--src",
    "--suffix", "--target", "--timeout", "--torch-backend", "--trusted-host", "--upgrade-group", "--upgrade-package",
    "--upgrade-strategy", "--use-deprecated", "--use-feature", "--wheel-dir", "--with-requirements",
))  # fmt: skip
_LETTERS = {"pipx": "i", "uv tool": "bcfipCP", "uvx": "bcfipCP"}
_PIP_LETTERS = "bcdfiprtwCP"
"""Options of one letter that take a value; ``-e`` and ``uv tool``'s ``-w`` take a package, which is looked at."""


def installer(command: Command) -> tuple[str, ...]:
    """``pip install ...`` however it is started: name, verb, and all other words; empty for other commands."""
    words = command.words
    if _PYTHON.fullmatch(command.program) and "-m" in words:
        words = words[words.index("-m") + 1 :]
    name = words[0].rpartition("/")[2] if words else ""
    if name in {"easy_install", "uvx"}:
        return words if len(words) > 1 else ()
    if not (_PIP.fullmatch(name) or name in {"uv", "pipx"}):
        return ()
    verb, rest = _first(name, words[1:])
    if name == "uv" and verb in {"pip", "tool"}:
        name = f"uv {verb}"
        verb, rest = _first(name, rest)
    return (name, verb, *rest) if verb in _VERBS else ()


def operands(name: str, words: Sequence[str]) -> Iterator[str]:
    """Those of ``words`` that are neither an option of the installer ``name`` nor the value of one."""
    yield from (words[index] for index in _operands(name, words))


def _first(name: str, words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The first operand, and the words without it."""
    index = next(_operands(name, words), len(words))
    return "".join(words[index : index + 1]), (*words[:index], *words[index + 1 :])


def _operands(name: str, words: Sequence[str]) -> Iterator[int]:
    for index, (before, word) in enumerate(pairwise(("", *words))):
        if not word.startswith("-") and not _takes(name, before):
            yield index


def _takes(name: str, option: str) -> bool:
    """Whether the value of ``option`` is the word behind it: that of ``-Ur`` is, that of ``-rFILE`` is not."""
    if option.startswith("--") or not option.startswith("-"):
        return option in _VALUED
    letters = _LETTERS.get(name, _PIP_LETTERS)
    return next((number for number, letter in enumerate(option, 1) if letter in letters), 0) == len(option)
