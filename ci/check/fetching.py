"""Rules about what a build fetches: nothing unchecked, nothing that can move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from ..errors import Place, Problem
from ..recipe import pins as lock
from ..recipe.dockerfile.expand import ExpandError, expand
from ..recipe.dockerfile.model import Arg, Instruction
from ..recipe.dockerfile.refs import RefError, parse_remote
from .installers import installer
from .material import Case, Recipe, Step, find
from .shell import Command

_SUMS = frozenset({"b2sum", "sha256sum", "sha384sum", "sha512sum", "shasum"})
_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])[:/]")
_NAMED_OUTPUT = re.compile(r"--output(?:-document)?=(.+)")
_AUTHORITY = re.compile(r"-[fgikqsvLORS]*[buH]|--(?:user|proxy-user|password|http-user|http-password|header|cookie)")
"""Options whose value says who asks: it is never what is fetched, and not to be shown as that."""
_LISTED = re.compile(r"--(?:input-file|config)=(.+)")
_FINGERPRINT = re.compile(r"\$\{?\w*fingerprint\b.*|[0-9A-F]{40}", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_UNSIGNED = re.compile(
    r"--allow-unauthenticated|--force-yes|--allow-insecure-repositories|\[[^\]]*trusted=yes|Trusted:\s*yes"
    r"|\b(AllowUnauthenticated|Allow\w*InsecureRepositories)[\s=\"']+(1|true|yes)",
    re.IGNORECASE,
)
_KEYS = re.compile(r"/(etc/apt/(keyrings|trusted\.gpg)|usr/share/keyrings)\b")

_REMOTE = re.compile(r"(?<!\bfile)://")
_SETTLE = frozenset({"checkout", "fetch", "reset", "switch"})

_CHECK = "ADD --checksum=sha256:... fetches it in a stage of its own; or check it here: sha256sum -c"
_END = "let a failed check end the step: set -e before it, or && behind it; no || true, no pipe, no & after it"

Known = Callable[[str], bool]


# --- downloads ------------------------------------------------------------------------------------


def downloads(case: Case) -> Iterator[Problem]:
    """What curl or wget brings is compared with a pinned hash in the same step."""
    yield from unchecked(case.steps)


def unchecked(steps: Iterable[Step]) -> Iterator[Problem]:
    """What such steps bring and do not compare."""
    for step in steps:
        fetched = [number for number, command in enumerate(step.commands) if _fetches(command)]
        outputs = {_output(step.commands, number) for number in fetched}
        for number in fetched:
            command, output = step.commands[number], _output(step.commands, number)
            later = step.commands[number + 1 :]
            if not output or not any(each.counts for each in _checks(later, output, outputs)):
                why, hint = "nothing checks what comes", _CHECK
                if output and any(_checks(later, output, outputs)):
                    why, hint = "where its check fails, the step goes on", _END
                message = f"{command.program} fetches {_operand(command)} and {why}"
                yield Problem("unchecked-download", message, hint, place=step.place(command))


def _fetches(command: Command) -> bool:
    if command.program == "apt-helper":
        return "download-file" in command.words
    if command.program not in {"curl", "wget"} or set(command.words) & {"--head", "-I", "--spider"}:
        return False
    operand = _operand(command)
    return bool(operand) and not _LOCAL.match(operand)


def _operand(command: Command) -> str:
    """The URL, or the first word that may hold one."""
    told = [found[1] if (found := _LISTED.fullmatch(word)) else word for word in command.words[1:]]
    words = [
        word
        for before, word in pairwise((command.program, *told))
        if not word.startswith("-") and word != "download-file" and ("://" in word or not _AUTHORITY.fullmatch(before))
    ]
    return next((word for word in words if "://" in word), words[0] if words else "")


def _output(commands: Sequence[Command], number: int) -> str:
    """The file that the command of that number writes; empty where it goes straight into another program."""
    command = commands[number]
    after = [each for each in commands[number + 1 :] if each.pipeline == command.pipeline]
    if command.program == "apt-helper":
        return command.words[-1]
    named = _named(command)
    if named and named != "-":
        return named
    last = after[-1] if after else command
    if last.files:
        return last.files[-1]
    if after:
        return last.words[-1] if last.program == "tee" else ""
    remote = command.program == "wget" or any(re.fullmatch("-[a-zA-Z]*O|--remote-name", each) for each in command.words)
    return _operand(command).rpartition("/")[2] if remote and not named else named


def _named(command: Command) -> str:
    letter = "o" if command.program == "curl" else "O"
    for word, following in zip(command.words, (*command.words[1:], ""), strict=True):
        if found := _NAMED_OUTPUT.fullmatch(word):
            return found[1]
        if word in {"--output", "--output-document"} or re.fullmatch(f"-[a-zA-Z]*{letter}", word):
            return following
        if found := re.fullmatch(f"-[a-zA-Z]*{letter}([^a-zA-Z].*)", word):
            return found[1]
    return ""


def _checks(later: Sequence[Command], output: str, outputs: set[str]) -> Iterator[Command]:
    """What compares ``output`` with what is pinned; a list that was fetched too pins nothing."""
    name = output.rpartition("/")[2]
    for command in later:
        joined = [each for each in later if each.pipeline == command.pipeline]
        if command.program in _SUMS and any(re.fullmatch("-[a-z]*c[a-z]*|--check", each) for each in command.words):
            lists = [word for word in command.words[1:] if not word.startswith("-")]
            told = " ".join([command.fed, *(word for each in joined if each != command for word in each.words)])
            if name in told or any(each not in outputs for each in lists):
                yield command
        elif (_verifies(command) or _compares(command)) and any(name in word for word in command.words[1:]):
            yield command


def _verifies(command: Command) -> bool:
    return command.program == "gpgv" or (command.program in {"gpg", "gpg2"} and "--verify" in command.words)


def _compares(command: Command) -> bool:
    """Whether it is given the fingerprint that a key must have."""
    return command.program not in {"echo", "printf"} and any(_FINGERPRINT.fullmatch(word) for word in command.words)


def additions(case: Case) -> Iterator[Problem]:
    """ADD takes a URL with --checksum, and a git repository at a full commit."""
    for recipe in case.recipes:
        for stage in recipe.model.stages if recipe.model else ():
            values = _Values(case, recipe)
            for line in stage.instructions:
                each = line.trigger or line
                if each.keyword == "ARG":
                    values.declare(each.args)
                elif each.keyword == "ADD":
                    yield from _added(recipe, each, values)


class _Values:
    """What ARGs are in a stage so far: the pin, else the default. A commit nobody resolved yet counts as one."""

    def __init__(self, case: Case, recipe: Recipe) -> None:
        self.case = case
        self.commits = commits(case)
        self.defaults: dict[str, str] = {}
        self.outer = {arg.name: arg.default or "" for arg in recipe.model.global_args} if recipe.model else {}

    def declare(self, args: Sequence[Arg]) -> None:
        for arg in args:
            self.defaults[arg.name] = self.outer.get(arg.name, "") if arg.default is None else self.word(arg.default)

    def word(self, text: str) -> str:
        try:
            return expand(text, self._value)
        except ExpandError:
            return text

    def _value(self, name: str) -> str:
        value = self.case.lock.get(name) or self.defaults.get(name, "")
        unresolved = not value or value.startswith(lock.MARK)
        return "0" * 40 if unresolved and self.commits(name) else value


def _added(recipe: Recipe, line: Instruction, values: _Values) -> Iterator[Problem]:
    checksum = values.word(line.flag("checksum") or "")
    for source in line.sources:
        try:
            remote = parse_remote(values.word(source))
        except RefError:
            continue
        place = find(recipe, line.line, source)
        if remote is not None and remote.is_git:
            if remote.commit is None and not _COMMIT.fullmatch(checksum):
                hint = "write URL#COMMIT with 40 digits, or an ARG whose pin is a commit: NAME_BRANCH or NAME_COMMIT"
                yield Problem("moving-source", f"ADD {source} is no full commit", hint, place=place)
        elif remote is not None and not checksum.removeprefix("sha256:"):
            hint = "ADD --checksum=sha256:${NAME_SHA256} with a pin of that name"
            yield Problem("unchecked-download", f"ADD {source} has no --checksum", hint, place=place)


# --- sources --------------------------------------------------------------------------------------


def commits(case: Case) -> Known:
    """Whether a variable holds a full commit: a pin that is one, or an argument of that type."""
    typed = {spec.name for spec in case.stack.args if spec.type == "git-commit"} if case.stack else set()
    return lambda name: name in typed or (name in case.lock and lock.kind(name) == "commit")


def clones(case: Case) -> Iterator[Problem]:
    """What git brings in a step is a full commit in the end."""
    yield from moving(case.steps, commits(case))


def moving(steps: Iterable[Step], known: Known) -> Iterator[Problem]:
    """What git brings in such steps where nobody checks out a commit."""
    for step in steps:
        gits = [(command, _subcommand(command)) for command in step.commands if command.program == "git"]
        for number, (command, verb) in enumerate(gits):
            if verb in {"clone", "fetch", "pull"} or (verb == "submodule" and "--remote" in command.words):
                settled = [each for each, name in gits[number:] if each.counts and name in _SETTLE]
                if not any(_is_commit(word, known) for each in settled for word in each.words):
                    message = f"git {verb} takes what its branch or tag is at that day"
                    hint = "ADD URL#COMMIT in a stage of its own; or check a full commit out in this step"
                    yield Problem("moving-source", message, hint, place=step.place(command))


def _subcommand(command: Command) -> str:
    words = list(command.words[1:])
    while words and words[0].startswith("-"):
        del words[: 2 if words[0] in {"-C", "-c", "--git-dir", "--work-tree"} else 1]
    return words[0] if words else ""


def _is_commit(word: str, known: Known) -> bool:
    variable = _VARIABLE.fullmatch(word)
    return bool(_COMMIT.fullmatch(word)) or (variable is not None and known(variable[1]))


# --- packages -------------------------------------------------------------------------------------


def installs(case: Case) -> Iterator[Problem]:
    """What an installer brings from an index has its hash in a lock."""
    for step in case.steps:
        exported = dict[str, str]()
        for command in step.commands:
            if command.program == "export":
                exported |= {word.partition("=")[0]: word for word in command.words[1:]}
            words = installer(command)
            given = {*words, *command.given, *exported.values()}
            locked = given & {"--require-hashes", "--locked", "--frozen", "PIP_REQUIRE_HASHES=1"}
            local = given & {"--no-index", "PIP_NO_INDEX=1"} and not any(map(_REMOTE.search, words))
            if words and not locked and not local:
                message = f"{' '.join(words[:2])} takes what an index has that day"
                hint = (
                    "pip install --require-hashes -r LOCK (uv pip compile --generate-hashes writes one), or --no-index"
                )
                yield Problem("unlocked-install", message, hint, place=step.place(command))


# --- apt ------------------------------------------------------------------------------------------


def apt_keys(case: Case) -> Iterator[Problem]:
    """A key that apt shall trust is compared with a pinned fingerprint in the same step, and never left out."""
    for step in case.steps:
        compared = any(_compares(command) for command in step.commands)
        for command in step.commands:
            if why := _trusts(command, compared=compared):
                hint = (
                    "compare its fingerprint with a pin (NAME_FINGERPRINT), as scripts/apt-source.sh of the tool does"
                )
                yield Problem("unpinned-key", why, hint, place=step.place(command))


def _trusts(command: Command, *, compared: bool) -> str:
    """Why a command lets apt trust more than what is pinned; empty where it does not."""
    told = " ".join((*command.words, *command.files, command.fed))
    if _UNSIGNED.search(told):
        return "apt is told to trust packages that nobody signed"
    if command.program in {"add-apt-repository", "apt-key"}:
        return f"{command.program} trusts whatever key it finds"
    takes = {"cp", "curl", "gpg", "gpg2", "install", "mv", "tee", "wget"}
    if command.program in takes and _KEYS.search(told) and not compared:
        return f"{command.program} gives apt a key that is compared with no fingerprint"
    return ""


def syntax(case: Case) -> Iterator[Problem]:
    """A frontend that a Dockerfile asks for is pinned by digest."""
    for recipe in case.recipes:
        wanted = recipe.model.syntax if recipe.model else None
        if wanted and "@sha256:" not in wanted:
            hint = "remove the # syntax= line, or pin it by digest"
            yield Problem("unpinned-syntax", f"frontend {wanted} can move", hint, place=Place(recipe.file.name, 1, 1))
