"""From lexed nodes to the model, refusing by line number what cannot be modelled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ...errors import ConfigError, Place, Problem
from .expand import SPACE
from .lexer import Lexed, Node, is_heredoc, lex
from .model import Arg, Dockerfile, Instruction, Stage
from .mounts import MountError, parse_mount

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")

FLAGS: dict[str, dict[str, str]] = {
    "ADD": {
        "chown": "s",
        "chmod": "s",
        "link": "b",
        "keep-git-dir": "b",
        "checksum": "s",
        "unpack": "b",
        "exclude": "m",
    },
    "ARG": {},
    "CMD": {},
    "COPY": {"chown": "s", "chmod": "s", "from": "s", "link": "b", "exclude": "m", "parents": "b"},
    "ENTRYPOINT": {},
    "ENV": {},
    "EXPOSE": {},
    "FROM": {"platform": "s"},
    "HEALTHCHECK": dict.fromkeys(("interval", "timeout", "start-period", "start-interval", "retries"), "s"),
    "LABEL": {},
    "MAINTAINER": {},
    "ONBUILD": {},
    "RUN": {"mount": "m", "network": "s", "security": "s", "device": "m"},
    "SHELL": {},
    "STOPSIGNAL": {},
    "USER": {},
    "VOLUME": {},
    "WORKDIR": {},
}
"""What each keyword takes: ``b`` is a switch, ``s`` one value, ``m`` a value that may be repeated."""

_NO_TRIGGER = frozenset({"ONBUILD", "FROM", "MAINTAINER"})


class _Refused(ValueError):
    """An instruction that is not modelled; reference, message, hint."""

    def __init__(self, reference: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reference = reference
        self.hint = hint


def parse(text: str, file: str) -> Dockerfile:
    """Read a Dockerfile (decoded, line ends untouched); ``file`` is the name shown in errors.

    Raises ``ConfigError`` with one problem, file and line included, for every
    construct that is wrong or that this model would have to guess at.
    """
    lexed = lex(text)
    builder = _Builder(file, lexed)
    for node in lexed.nodes:
        builder.add(node)
    return builder.finish()


class _Builder:
    """Collects stages and problems node by node."""

    def __init__(self, file: str, lexed: Lexed) -> None:
        self.file = file
        self.lexed = lexed
        self.global_args: list[Arg] = []
        self.stages: list[Stage] = []
        self.body: list[Instruction] = []
        self.problems = [self._problem(line, "dockerfile-syntax", why, "") for line, why in lexed.errors]

    def add(self, node: Node) -> None:
        try:
            instruction = _instruction(node, node.start)
            if instruction.keyword == "FROM":
                self._from(instruction)
            elif self.stages:
                self.body.append(instruction)
            elif instruction.keyword == "ARG":
                self.global_args.extend(instruction.args)
            else:
                raise _Refused(
                    "dockerfile-no-stage",
                    f"{instruction.keyword} stands before the first FROM",
                    "Only ARG may; move it behind a FROM.",
                )
        except _Refused as refused:
            self.problems.append(self._problem(node.start, refused.reference, str(refused), refused.hint))

    def _from(self, instruction: Instruction) -> None:
        self._close()
        # The stage is opened first: its own mistake must not make more of what follows.
        base = instruction.words[0] if instruction.words else ""
        stage = Stage(len(self.stages), None, base, instruction.flag("platform"), instruction.line, ())
        self.stages.append(replace(stage, text=instruction.text))
        name = _stage_name(instruction.words)
        first = next((stage.line for stage in self.stages if name and stage.name == name), None)
        if first is not None:
            raise _Refused(
                "dockerfile-stage-twice",
                f"the stage {name} is defined twice, first in line {first}",
                "FROM would take the first and COPY --from the last; rename one.",
            )
        self.stages[-1] = replace(self.stages[-1], name=name)

    def _close(self) -> None:
        if self.stages:
            self.stages[-1] = replace(self.stages[-1], instructions=tuple(self.body))
            self.body = []

    def finish(self) -> Dockerfile:
        self._close()
        if not self.stages and not self.problems:
            hint = "A Dockerfile needs at least one FROM line."
            self.problems.append(self._problem(0, "dockerfile-empty", "there is no stage to build", hint))
        if self.problems:
            raise ConfigError.of(sorted(self.problems, key=lambda problem: problem.place.line if problem.place else 0))
        lexed = self.lexed
        return Dockerfile(self.file, lexed.syntax, lexed.escape, tuple(self.global_args), tuple(self.stages))

    def _problem(self, line: int, reference: str, message: str, hint: str) -> Problem:
        return Problem(reference, message, hint, place=Place(self.file, line))


def _instruction(node: Node, line: int) -> Instruction:
    keyword = node.keyword.upper()
    if keyword not in FLAGS:
        raise _Refused(
            "dockerfile-unknown-instruction",
            f"unknown instruction {node.keyword or '(an empty line after a continuation)'}",
            did_you_mean(keyword, tuple(FLAGS)),
        )
    flags = tuple(_flags(keyword, node.flags))
    trigger = _trigger(node, line) if keyword == "ONBUILD" else None
    instruction = Instruction(keyword, _text(node), flags, line, node.words, node.heredocs, trigger)
    _CHECKS.get(keyword, _no_check)(instruction)
    return instruction


def _text(node: Node) -> str:
    """The canonical text: the joined line, then each heredoc up to its bare delimiter."""
    parts = [node.original.strip(SPACE)]
    parts += [heredoc.content + heredoc.name for heredoc in node.heredocs]
    return "\n".join(parts)


def _flags(keyword: str, flags: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    known = FLAGS[keyword]
    seen: set[str] = set()
    for flag in flags:
        name, equals, value = flag[2:].partition("=")
        kind = known.get(name)
        if not flag.startswith("--") or kind is None:
            hint = did_you_mean(name, tuple(known)) or f"{keyword} takes no such flag."
            raise _Refused("dockerfile-flag", f"unknown flag {flag.partition('=')[0]} of {keyword}", hint)
        if name in seen and kind != "m":
            raise _Refused("dockerfile-flag", f"the flag --{name} of {keyword} is given twice")
        if kind == "b" and (value.lower() not in {"", "true", "false"} or (equals and not value)):
            raise _Refused("dockerfile-flag", f"--{name} of {keyword} is true or false, not {value or 'empty'}")
        if kind != "b" and not equals:
            raise _Refused("dockerfile-flag", f"the flag --{name} of {keyword} needs a value")
        seen.add(name)
        yield name, value


def _trigger(node: Node, line: int) -> Instruction:
    if node.trigger is None:
        raise _Refused("dockerfile-onbuild", "ONBUILD triggers nothing", "Write an instruction behind it.")
    if node.trigger.keyword.upper() in _NO_TRIGGER:
        raise _Refused("dockerfile-onbuild", f"ONBUILD cannot trigger {node.trigger.keyword.upper()}")
    return _instruction(node.trigger, line)


def _stage_name(words: tuple[str, ...]) -> str | None:
    if len(words) == 1:
        return None
    if len(words) != 3 or words[1].lower() != "as":
        raise _Refused("dockerfile-from", "FROM takes a base, and AS with one name", "FROM base AS name")
    name = words[2].lower()
    if not _STAGE_NAME.match(name):
        hint = "It begins with a letter; letters, digits, - _ and . follow."
        raise _Refused("dockerfile-from", f"{words[2]} cannot be the name of a stage", hint)
    return name


def _no_check(_instruction: Instruction) -> None:
    """Most instructions are text to us."""


def _check_arg(instruction: Instruction) -> None:
    if not instruction.words or any(not arg.name for arg in instruction.args):
        raise _Refused("dockerfile-arg", "ARG without a name", "ARG NAME or ARG NAME=default")


def _check_env(instruction: Instruction) -> None:
    if not instruction.words or not all(instruction.words[::2]):
        raise _Refused(
            "dockerfile-env",
            f"{instruction.keyword} without a name",
            f"{instruction.keyword} NAME=value",
        )


def _check_copy(instruction: Instruction) -> None:
    keyword = instruction.keyword
    if len(instruction.words) < 2:
        raise _Refused("dockerfile-copy", f"{keyword} takes one or more sources and a destination")
    if is_heredoc(instruction.words[-1]):
        raise _Refused("dockerfile-copy", f"a heredoc cannot be the destination of {keyword}")
    origin = instruction.flag("from")
    if origin is not None and (not origin or set(origin) & set("$\\'\"")):
        raise _Refused(
            "dockerfile-copy-from",
            f"--from={origin} cannot be resolved: BuildKit expands no variables there",
            "Name a stage with FROM ... AS and copy from that.",
        )


def _check_run(instruction: Instruction) -> None:
    for value in instruction.all_flags("mount"):
        try:
            parse_mount(value)
        except MountError as error:
            hint = did_you_mean(error.word, error.known)
            raise _Refused("dockerfile-mount", f"--mount={value}: {error}", hint) from None


_CHECKS = {
    "ADD": _check_copy,
    "ARG": _check_arg,
    "COPY": _check_copy,
    "ENV": _check_env,
    "LABEL": _check_env,
    "RUN": _check_run,
}


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """``Did you mean ...?`` with the nearest of ``known``, or nothing."""
    if not word:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 3, 0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""
