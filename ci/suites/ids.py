"""Test ids as pytest writes them: ``folder/file.py::Class::test[parameters]``."""

from __future__ import annotations

import re
from collections.abc import Collection

_SHOWN = 5
_NOT_XML = re.compile("[^\u0009\u000a\u000d\u0020-\u007e\u0080-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def file(test: str) -> str:
    """The file a test stands in."""
    return test.partition("::")[0]


def covers(pattern: str, test: str) -> bool:
    """Whether ``pattern`` is the test, or its file, class, or function with other parameters."""
    return test == pattern or test.startswith((f"{pattern}::", f"{pattern}["))


def junit(test: str) -> tuple[str, str]:
    """``classname`` and ``name`` of the test in JUnit; two tests may have the same there."""
    path, bracket, parameters = test.partition("[")
    names = path.split("::")
    names[0] = names[0].replace("/", ".").removesuffix(".py")
    return ".".join(names[:-1]), _NOT_XML.sub(_escaped, names[-1] + bracket + parameters)


def several(tests: Collection[str]) -> str:
    """``a, b and 7 more``: enough to know what is meant, on one line."""
    shown = ", ".join(list(tests)[:_SHOWN])
    return shown if len(tests) <= _SHOWN else f"{shown} and {len(tests) - _SHOWN} more"


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"#x{number:02X}" if number <= 0xFF else f"#x{number:04X}"
