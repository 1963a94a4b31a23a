"""Whom a host trusts: one file that no checkout can change, and the line of it that a job's facts match."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .. import documents
from ..errors import ConfigError, Problem
from ..errors import Place as Position
from ..names import Place
from ..settings import Settings, emptied
from ..world import files
from .facts import Facts

NAME = "ROCM_CI_POLICY"
HOST = Path("/etc/rocm-ci/policy.yaml")
"""The host's own policy: where it is there, no variable names another."""

_PORT = re.compile(r":\d+\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """A repository of one CI, with the branches and tags of it that are trusted (``*``: any characters)."""

    provider: str
    repository: str
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    place: Position

    def matches(self, facts: Facts) -> bool:
        """Whether these facts are those of a trusted branch or tag; a pull request's never are."""
        if facts.unclear or facts.pull_request:
            return False
        if (facts.provider, facts.repository) != (self.provider, self.repository):
            return False
        if facts.tag:
            return any(fnmatchcase(facts.tag, pattern) for pattern in self.tags)
        return bool(facts.branch) and any(fnmatchcase(facts.branch, pattern) for pattern in self.branches)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file: ``trusted`` is read by all and written by the trusted, ``scratch`` holds the scopes."""

    file: str
    trusted: Place
    scratch: Place | None
    sources: tuple[Source, ...]

    def source(self, facts: Facts) -> Source | None:
        """The first line that trusts these facts."""
        return next((source for source in self.sources if source.matches(facts)), None)


def policy_of(settings: Settings, trees: Callable[[], Iterable[Path]], host: Path = HOST) -> Policy | None:
    """The policy of this host, None where there is none.

    Raises ``ConfigError`` for one that is named and missing, that cannot be meant, or that lies in one of
    ``trees``, which the code under test can write.
    """
    setting = settings.get(NAME)
    if not setting.value.strip():
        raise ConfigError.of([emptied(f"environment variable {NAME}")])
    path = Path(setting.value)
    if setting.source == "default":
        path = host
        if not _there(path):
            return None
    elif _there(host) and path.resolve() != host.resolve():
        hint = f"do not set {NAME} where {host} is there"
        raise ConfigError("two-policies", f"{NAME} names {path}, and this host has {host}", hint=hint)
    _refuse_inside(path, trees())
    if not path.is_file():
        message = f"{NAME} names {path}" if path != host else f"the host's policy is {path}"
        raise ConfigError("no-file", f"{message}, and there is no such file", hint="ask whoever runs this host")
    return read(files.read_text(path), str(path))


def _there(path: Path) -> bool:
    """Whether anything is at ``path``: a link to nothing, and what this user may not see, are not no policy."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        hint = "every user that builds must be able to read it; ask whoever runs this host"
        raise ConfigError("unreadable-file", f"cannot look at {path}: {error.strerror}", hint=hint) from None
    return True


def _refuse_inside(path: Path, trees: Iterable[Path]) -> None:
    hint = f"keep it where only an administrator writes, for example {HOST}"
    if not path.is_absolute():
        raise ConfigError("policy-relative", f"{NAME} must be an absolute path, not {path}", hint=hint)
    for tree in trees:
        for one in (path, path.resolve()):
            if one.is_relative_to(tree) or one.is_relative_to(tree.resolve()):
                message = f"the policy {path} lies in {tree}, which those it judges can write"
                raise ConfigError("policy-inside", message, hint=hint)


def read(text: str, file: str) -> Policy:
    """The policy in ``text``; all problems at once."""
    document = documents.read(text, file)
    schema = json.loads(files.read_text(files.package_data("recipe_data", "docker") / "policy.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    value, problems = document.value, list[Problem]()
    trusted = _place(document, ("trusted", "registry"), problems)
    scratch = _place(document, ("untrusted", "registry"), problems) if "untrusted" in value else ()
    pairs = [(_by_one_name(one), _by_one_name(other)) for one in trusted for other in scratch]
    if any(one.holds(other) or other.holds(one) for one, other in pairs):
        message = f"{trusted[0]} and {scratch[0]} lie in each other: a trusted build could read a scope"
        hint = "give them namespaces beside each other, for example team and team-scratch"
        problems.append(Problem("policy-overlap", message, hint, place=document.place("untrusted", "registry")))
    for index, row in enumerate(value["trusted"]["sources"]):
        if not row.keys() & {"branches", "tags"}:
            where = document.place("trusted", "sources", index)
            hint = "name its branches, its tags or both; * stands for any characters"
            problems.append(
                Problem("policy-idle", f"{row['repository']} has neither: nothing is trusted", hint, place=where)
            )
    documents.refuse(problems)
    rows = enumerate(value["trusted"]["sources"])
    sources = tuple(_source(row, document.place("trusted", "sources", index)) for index, row in rows)
    return Policy(file, trusted[0], scratch[0] if scratch else None, sources)


def _by_one_name(place: Place) -> Place:
    """The place with its registry called as all others call it, so that two names for one are seen."""
    from ..world.registry_session import API_HOSTS  # a host without a policy waits for no HTTP client

    host = place.host.lower().removesuffix(":443")
    if _is_loopback(name := _PORT.sub("", host)):
        host = "localhost" + host.removeprefix(name)
    return Place(API_HOSTS.get(host, host), place.namespace)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def _place(document: documents.Document, path: tuple[str, str], problems: list[Problem]) -> tuple[Place, ...]:
    """The place at ``path``; none, and what is wrong with it among ``problems``."""
    try:
        return (Place.parse(document.value[path[0]][path[1]]),)
    except ConfigError as error:
        where = document.place(*path)
        problems += [Problem(each.reference, each.message, each.hint, place=where) for each in error.problems]
        return ()


def _source(row: dict[str, Any], place: Position) -> Source:
    branches, tags = (tuple(row.get(key, ())) for key in ("branches", "tags"))
    return Source(row["provider"], row["repository"], branches, tags, place)
