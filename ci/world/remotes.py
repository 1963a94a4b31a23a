"""What a git repository elsewhere says: the commit of a branch or tag, and the whole of a short one."""

from __future__ import annotations

import tempfile

from ..errors import ConfigError, DeadlineError, InfraError
from .http import address
from .process import Command, Finished, Run, run

PATIENCE = 30.0
"""Seconds for a question."""

_CLONING = 900.0
"""Seconds for the commits of a whole repository, without their files."""

_PLAIN = ("env", "GIT_TERMINAL_PROMPT=0", "git")
"""env(1) adds to the caller's environment: a user's proxy and CA settings count, a question for a password does not."""


def commit_at(url: str, reference: str, start: Run = run) -> str:
    """The full commit that a branch or tag of the repository at ``url`` stands at; of an annotated tag, what it is on.

    ``reference`` may be whole: ``refs/heads/...`` or ``refs/tags/...``.  Raises ``ConfigError`` where the repository
    has none of that name, or a branch and a tag with different commits, and ``InfraError`` where it does not answer.
    """
    asked = (*_PLAIN, "ls-remote", "--", url, reference, f"{reference}^{{}}")
    found = _asked(url, Command(asked, deadline=PATIENCE), start)
    rows = (line.partition("\t") for line in found.stdout.splitlines())
    commits = {name: commit for commit, _, name in rows}
    whole = (reference,) if reference.startswith("refs/") else (f"refs/heads/{reference}", f"refs/tags/{reference}")
    stands = {name: commits.get(f"{name}^{{}}", commits[name]) for name in whole if name in commits}
    if not stands:
        hint = f"git ls-remote {address(url)} lists what it has"
        raise ConfigError("no-such-ref", f"{address(url)} has no branch or tag {reference}", hint=hint)
    if len(set(stands.values())) > 1:
        hint = f"write {' or '.join(stands)}"
        raise ConfigError("ambiguous-ref", f"{address(url)} has a branch and a tag {reference}", hint=hint)
    return next(iter(stands.values()))


def whole_commit(url: str, short: str, start: Run = run) -> str:
    """The full commit that begins with the digits ``short``; takes a copy of all commits, without their files.

    Raises ``ConfigError`` where no branch or tag of the repository at ``url`` descends from exactly one such commit,
    and ``InfraError`` where it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="rocm-ci-commits-") as folder:
        words = ("clone", "--quiet", "--bare", "--filter=tree:0", "--", url, folder)
        _asked(url, Command((*_PLAIN, *words), deadline=_CLONING), start)
        asked = ("git", "--git-dir", folder, "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}")
        found = start(Command(asked))
        if not found.ok:
            hint = "give the full commit; one that no branch or tag has is not found by a part of it"
            raise ConfigError("no-such-ref", f"{address(url)} has no single commit {short}", hint=hint)
        return found.stdout.strip()


def _asked(url: str, command: Command, start: Run) -> Finished:
    """The answer of git; raises ``InfraError`` where there is none."""
    try:
        found = start(command)
    except DeadlineError as error:
        raise InfraError("unreachable", f"{address(url)}: {error.problems[0].message}", hint=_HINT) from None
    if not found.ok:
        raise InfraError("unreachable", f"git cannot read {address(url)}", context=found.tail(3), hint=_HINT)
    return found


_HINT = "check the address, the network and its proxy; git ls-remote says the same"
