"""One function from commit, ROCm and torch to a version; docs/how-to/wheels.md says why it looks as it does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import ConfigError, Problem
from ..names import WheelVersion
from ..world.history import Described, History

NO_TORCH = "none"
_RELEASE = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?", re.ASCII)
_NUMBERS = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)
_TORCH = re.compile(r"\d[a-z0-9]*(\.\d[a-z0-9]*)*", re.ASCII)
_SHOWN = 5


def version(project: str, release: str, history: History | None, rocm: str, torch: str = NO_TORCH) -> WheelVersion:
    """The version of ``project`` at a commit: ``release`` itself where its tag stands, else a nightly before it.

    The tag is ``<project>-v<release>``.  A nightly is ``.devN`` with N the number of commits, so
    it sorts after every earlier nightly and before the release.  Raises ``ConfigError`` for
    a tree that no commit describes, and for a nightly of a release that is out already.
    """
    found = [*_tree_problems(project, release, history), *_part_problems(release, rocm, torch)]
    if history is None or found:
        raise ConfigError.of(found)
    plain = WheelVersion(release, rocm, torch=_torch(torch))
    if tag(project, release) in history.here:
        return plain
    return WheelVersion(release, rocm, history.count, plain.torch, f"g{history.commit[:12]}")


def scm(described: Described) -> str:
    """The version that setuptools-scm would give a clean tree: of its tag, else a ``.devN`` before the next one.

    ``v0.12.0``, five commits later, is ``0.12.1.dev5+g0123456789ab``: it sorts after the tag and after the commits
    before it.  Raises ``ConfigError`` for a tag that is no version.
    """
    from packaging.version import InvalidVersion, Version

    try:
        base = Version(described.tag).public
    except InvalidVersion:
        hint = "git fetch --tags --force brings those of upstream; a tag of its own between them is to be removed"
        raise ConfigError("no-version-tag", f"the nearest tag {described.tag} is no version", hint=hint) from None
    if not described.distance:
        return base
    following, dev, count = base.partition(".dev")
    if not dev:
        following = re.sub(r"\d+\Z", lambda last: str(int(last[0]) + 1), base)
    return f"{following}.dev{int(count or 0) + described.distance}+g{described.commit[:12]}"


def trial(release: str, rocm: str, torch: str = NO_TORCH) -> WheelVersion:
    """A version for a tree in any state; it sorts before every nightly, so no resolver prefers it to one."""
    found = list(_part_problems(release, rocm, torch))
    if found:
        raise ConfigError.of(found)
    return WheelVersion(release, rocm, 0, _torch(torch), "trial")


def tag(project: str, release: str) -> str:
    """The git tag that makes a commit the release: ``rocm-probe-v0.2.0``."""
    return f"{project}-v{release}"


def _torch(torch: str) -> str:
    return "" if torch == NO_TORCH else torch.partition("+")[0]


def _tree_problems(project: str, release: str, history: History | None) -> Iterator[Problem]:
    if history is None:
        hint = "make a commit, or give --trial for wheels that are not meant to be published"
        yield Problem("no-commit", f"{project} is in no git repository with a commit", hint)
        return
    if history.shallow:
        message = f"{history.folder} is a shallow clone: the number of commits, and so the version, would be wrong"
        yield Problem("shallow-clone", message, "git fetch --unshallow --tags (in CI: fetch-depth 0), or --trial")
    if history.changes:
        shown = "\n".join(history.changes[:_SHOWN])
        more = f"\nand {len(history.changes) - _SHOWN} more" if len(history.changes) > _SHOWN else ""
        hint = "commit or git stash -u them, or give --trial for wheels that are not meant to be published"
        message = f"{history.folder} has changes that no commit describes"
        yield Problem("dirty-tree", message, hint, shown + more)
    if tag(project, release) in history.before:
        message = f"{project} {release} is out already, and a nightly of it would sort before it"
        yield Problem("already-released", message, "raise the version in the project's pyproject.toml")


def _part_problems(release: str, rocm: str, torch: str) -> Iterator[Problem]:
    if not _RELEASE.fullmatch(release):
        hint = "give the coming release, for example 0.2.0 or 0.2.0rc1; .devN and +label are added here"
        yield Problem("bad-release", f"{release!r} is not a release", hint)
    if not _NUMBERS.fullmatch(rocm):
        yield Problem("bad-rocm", f"{rocm!r} is not a version of ROCm", "give numbers and dots, for example 7.14")
    if torch != NO_TORCH and not _TORCH.fullmatch(torch.partition("+")[0]):
        yield Problem("bad-torch", f"{torch!r} is not a version of torch", f"for example 2.9.1, or {NO_TORCH}")
