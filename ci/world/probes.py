"""What ``doctor`` asks of this host: questions that may hang, each with an end. Nothing here writes."""

from __future__ import annotations

import atexit
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import DeadlineError, InfraError
from ..settings import Settings
from .clock import Clock, SystemClock
from .host import _BUNDLES
from .http import Request, Response, Send, address
from .process import Command, Finished, Run, started

T = TypeVar("T")
PATIENCE = 3.0
"""Seconds for one program; less than a check's, so that it can still be told which one did not answer."""

_at_work = set[subprocess.Popen[bytes]]()

_OWN_CAS = (("/usr/local/share/ca-certificates", "**/*.crt"), ("/etc/pki/ca-trust/source/anchors", "*"))


def gather(
    questions: Mapping[str, Callable[[], T]], seconds: float, clock: Clock | None = None
) -> dict[str, T | BaseException | None]:
    """Ask all at once; per question its answer, its error, or None where none came within ``seconds``.

    A question that hangs is left behind in its daemon thread, never joined: a process in
    uninterruptible sleep or a socket nobody answers must hold up neither us nor our exit.
    """
    clock = clock or SystemClock()
    answers: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def work(name: str, question: Callable[[], T]) -> None:
        try:
            answers.put((name, question()))
        except BaseException as error:  # noqa: BLE001 - carried over to the caller, who judges it
            answers.put((name, error))

    for name, question in questions.items():
        threading.Thread(target=work, args=(name, question), name=f"ask-{name}", daemon=True).start()
    found: dict[str, T | BaseException | None] = dict.fromkeys(questions)
    end = clock.monotonic() + seconds
    for _ in questions:
        try:
            name, answer = answers.get(timeout=max(0.0, end - clock.monotonic()))
        except queue.Empty:
            break
        found[name] = answer
    return found


def ask(command: Command, seconds: float = PATIENCE) -> Finished:
    """Run a program that should answer at once; ``DeadlineError`` past ``seconds``, its group ended hard.

    ``process.run`` takes half a minute to end a child that ignores signals, which is right
    for a build and too long here.
    """
    with started(command) as child:
        _at_work.add(child)
        try:
            stdout, stderr = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(child)
            message = f"{command.argv[0]} did not answer within {seconds:g} s"
            raise DeadlineError("deadline", message, context=str(command)) from None
        finally:
            _at_work.discard(child)
    return Finished(command, child.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole group: what the leader started may outlive it and hold our pipes.

    One in uninterruptible sleep ends when its driver lets it: nobody waits for that.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.2)
    if child.returncode is None:
        child.returncode = -signal.SIGKILL  # else leaving its context would wait for it


@atexit.register
def _end_what_is_left() -> None:
    """End what a thread asked that we leave behind: nobody else would, and a polite end may be ignored."""
    for child in tuple(_at_work):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def installed(program: str) -> bool:
    """Whether ``program`` is on PATH or in a system folder."""
    return bool(shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin"))


def refusal(folder: Path) -> str:
    """Why nothing can be written below ``folder``, which may not exist yet; empty where it can."""
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        return f"{there} is not a folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written by this user"


# --- network settings -------------------------------------------------------------------------


def ca_file(settings: Settings) -> Path | None:
    """The file that ``host.ca_bundle`` reads."""
    names = (settings.host("SSL_CERT_FILE"), settings.host("REQUESTS_CA_BUNDLE"), *_BUNDLES)
    return next((Path(name) for name in names if name and Path(name).is_file()), None)


def has_own_ca() -> bool:
    """Whether somebody added a certificate authority to this host: a sign of TLS that is re-signed."""
    return any(next(Path(folder).glob(pattern), None) for folder, pattern in _OWN_CAS)


class Dated:
    """A ``send`` that remembers how far the clock of whoever answers is ahead of ours, in seconds."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self.ahead: float | None = None

    def __call__(self, request: Request) -> Response:
        """Send as the original does."""
        answer = self._send(request)
        with suppress(ValueError, TypeError):  # no Date, one that cannot be read, one without a zone
            self.ahead = (parsedate_to_datetime(answer.headers.get("date", "")) - self._clock.now()).total_seconds()
        return answer


# --- builder ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Builder:
    """A buildx builder: its driver, and the endpoint or context of its first node."""

    driver: str
    endpoint: str


def builder(settings: Settings, name: str) -> Builder | None:
    """The builder called ``name``, from buildx's own files: asking buildx would write there."""
    if name == "default":
        return Builder("docker", "default")
    config = Path(settings.host("DOCKER_CONFIG") or Path(settings.host("HOME") or Path.home()) / ".docker")
    kept = Path(settings.host("BUILDX_CONFIG") or config / "buildx")
    for instance in (kept / "instances").glob("*"):
        if instance.name == name.lower():
            data = _object(instance)
            nodes = data.get("Nodes")
            first = nodes[0] if isinstance(nodes, list) and nodes else {}
            return Builder(str(data.get("Driver", "")), str(first.get("Endpoint", "")))
    contexts = (_object(meta).get("Name") for meta in (config / "contexts" / "meta").glob("*/meta.json"))
    return Builder("docker", name) if name in contexts else None


def _object(path: Path) -> dict[str, object]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InfraError("bad-docker-config", f"cannot read {path}: {error}", hint="delete or repair it") from None
    return data if isinstance(data, dict) else {}


# --- elsewhere --------------------------------------------------------------------------------


class Told(NamedTuple):
    """An answer about something elsewhere: there, not there, or None for *could not tell*; and how that was said."""

    there: bool | None
    said: str = ""


_QUIET = ("env", "GIT_TERMINAL_PROMPT=0", "git", "-c", "gc.auto=0", "-c", "maintenance.auto=false")
"""env(1) adds to the caller's environment: a user's proxy and CA settings count, a question for a password does not."""

_UNABLE = re.compile(r"^(fatal|error|remote): |unable to access '[^']*': ")


def commit(url: str, name: str, start: Run) -> Told:
    """Whether the repository at ``url`` has the full commit ``name``.

    ls-remote lists branches and tags only: the one commit is fetched, without its files, into a repository that is
    thrown away.  A server that knows no filters sends the files too.
    """
    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--filter=tree:0", "--", url, name)
    with tempfile.TemporaryDirectory(prefix="rocm-ci-commit-", ignore_cleanup_errors=True) as folder:
        try:
            done = start(Command((*_QUIET, "init", "--quiet", "--bare", folder)))
            done = start(Command((*_QUIET, "-C", folder, *words))) if done.ok else done
        except (DeadlineError, InfraError) as error:
            return Told(None, error.problems[0].message)
    if done.ok:
        return Told(True)
    if "not our ref" in done.stderr:
        return Told(False, f"{address(url)} has no commit {name}")
    last = done.stderr.strip().splitlines()[-1:] or [f"git ended with {done.code}"]
    return Told(None, _UNABLE.sub("", _UNABLE.sub("", last[0])))


# --- git --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository around a folder; ``refused`` says why git does not read it."""

    top: str = ""
    shallow: bool = False
    dirty: bool = False
    refused: str = ""


def git_version(start: Run = ask) -> str:
    """git's version; ``InfraError`` where git is missing."""
    done = start(Command(("git", "--version")))
    words = done.stdout.split()
    if not done.ok or len(words) < 3:
        raise InfraError("git", "git does not say its version", context=done.tail(3), hint="reinstall git")
    return words[2]


def repository(folder: Path, start: Run = ask) -> Repository | None:
    """The repository around ``folder``, or None outside of git. Leaves git's index as it is."""
    found = start(Command(("git", "-C", str(folder), "rev-parse", "--show-toplevel", "--is-shallow-repository")))
    if not found.ok:
        return Repository(refused=found.tail(1)) if "safe.directory" in found.stderr else None
    top, shallow = found.stdout.splitlines()[:2]
    argv = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", top)
    status = start(Command((*argv, "status", "--porcelain", "--untracked-files=no")))
    if not status.ok:
        return Repository(top, refused=status.tail(1))
    return Repository(top, shallow == "true", bool(status.stdout.strip()))
