"""Programs that run another command, or a text as a script: which, and with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import dropwhile

from .fates import Options

WRAPPERS: Mapping[str, str] = {
    "builtin": "", "busybox": "", "chroot": "", "command": "", "env": "uCS", "exec": "a", "flock": "wE", "ionice": "cn",
    "nice": "n", "nohup": "", "parallel": "jnNP", "setsid": "", "stdbuf": "ioe", "sudo": "ughpCDRT", "timeout": "ks",
    "unshare": "", "xargs": "adEILnPs",
}  # fmt: skip
"""What starts the program behind it, with the letters of its options whose value is the next word."""
_PLACED = frozenset({"chroot", "flock"})
"""Those with a word of their own before the program."""
EXECS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
SHELLS = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})
_LOGINS = frozenset({"runuser", "su"})
_OPERAND = re.compile(r"[\d.]+[smhd]?")


def unwrapped(name: str, words: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The command that the wrapper ``name`` starts; for xargs with a word for those that it adds."""
    valued = re.compile(f"-[a-zA-Z]*[{WRAPPERS[name]}]") if WRAPPERS[name] else None
    before, rest, placed = "", words[1:], name in _PLACED
    while len(rest) > 1:
        word = rest[0][1]
        takes = valued is not None and valued.fullmatch(before) and not word.startswith("-")
        if not (takes or word.startswith("-") or _OPERAND.fullmatch(word) or placed):
            break
        placed = placed and (bool(takes) or word.startswith("-"))
        before = rest.pop(0)[1]
    return [*rest, (rest[-1][0], "$()")] if name == "xargs" else rest


def script_of(words: Sequence[str], options: Options) -> tuple[str, Options] | None:
    """The text that a command runs as shell text because it is among its words, and the options it begins with."""
    program = words[0].rpartition("/")[2] if words else ""
    if program == "eval":
        return " ".join(dropwhile("eval".__eq__, words)), options
    if program == "trap" and len(words) > 2:
        return words[1], options
    given = [at for at, text in enumerate(words[:-1]) if re.fullmatch("-[a-zA-Z]*c[a-zA-Z]*", text)]
    if not given or program not in SHELLS | _LOGINS:
        return None
    last = next((at for at in range(given[0] + 1, len(words)) if not re.match("[-+]", words[at])), len(words) - 1)
    if re.fullmatch("[-+][a-zA-Z]*o", words[last - 1]) and last + 1 < len(words):
        last += 1
    return words[last], Options().after(words[1:last])
