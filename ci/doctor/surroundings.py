"""Checks of the host around the build: settings, state folder, abandoned runs, network, clock, git, GPUs, leases."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .. import settings as settings_room
from ..build.host import pip_options
from ..errors import ConfigError, Outcome
from ..recipe import stack as stacks
from ..recipe.stack import Stack
from ..report.units import counted
from ..settings import Settings
from ..world import dirty, gpus, host, leases, ledger, probes, smi
from .findings import Case, Finding, mistakes, space

_STATE_GB = 2
_FIRST_YEAR = 2025


def look_at_stack(settings: Settings) -> tuple[Stack | None, tuple[Finding, ...]]:
    """The stack for the other checks, None where it has mistakes, and what there is to say about it."""
    try:
        stack = stacks.load(settings.get("ROCM_CI_STACK").value)
    except ConfigError as error:
        return None, tuple(mistakes("stack", error.problems))
    return stack, (Finding("stack", "ok", f"{stack.name} ({stack.file})"),)


def look_at_settings(case: Case) -> Iterator[Finding]:
    """Mistakes in our variables and options."""
    yield Finding("settings", "ok", "no unknown, empty or broken variable")
    yield from mistakes("settings", settings_room.problems(case.settings))


def look_at_state_folder(case: Case) -> Iterator[Finding]:
    """Whether runs can keep their records."""
    remedy = "set ROCM_CI_STATE to a folder this user may write"
    if refusal := probes.refusal(case.state):
        yield Finding("state", "fail", refusal, remedy, Outcome.INFRA)
    else:
        yield space("state", case.state, _STATE_GB, "free some, or set ROCM_CI_STATE to a folder on another disk")


def look_at_runs(case: Case) -> Iterator[Finding]:
    """Whether crashed runs left something behind."""
    try:
        left = tuple(ledger.abandoned(case.state))
    except ConfigError as error:  # the ledger of a newer version stops nobody but reap
        yield Finding("runs", "warn", error.problems[0].message, error.problems[0].hint)
        return
    if left:
        things = sum(len(each.open_things()) for each in left)
        message = f"{counted(len(left), 'run')} ended without cleaning up ({counted(things, 'thing')} left)"
        yield Finding("runs", "warn", message, "inv reap --plan, then inv reap")
    else:
        yield Finding("runs", "ok", "nothing left behind")


def look_at_clock(case: Case) -> Iterator[Finding]:
    """Whether the year can be right; engine and registry add what they think."""
    now = case.clock.now()
    stamp = f"{now:%Y-%m-%dT%H:%MZ}"
    if now.year < _FIRST_YEAR:
        remedy = "set the clock: timedatectl set-ntp true; certificates and tokens depend on it"
        yield Finding("clock", "fail", f"{stamp} cannot be", remedy, Outcome.INFRA)
    else:
        yield Finding("clock", "ok", stamp)


def look_at_network(case: Case) -> Iterator[Finding]:
    """What RUN steps get of the network settings of this host: only read, nothing is contacted."""
    yield from _certificates(case.settings)
    try:
        options = pip_options(case.settings, host.pip_files(case.settings))
    except configparser.Error as error:
        yield Finding("network", "warn", f"pip's configuration cannot be read: {error}", "pip config debug")
        return
    sources = (f"{key} ({_pip_source(case.settings, key)})" for key in options)
    yield Finding("network", "ok", f"pip: {', '.join(sources) or 'defaults'}")
    for word in options.get("find-links", ()):
        parts = urlsplit(word)
        if parts.scheme in ("", "file"):
            there = Path(parts.path).is_dir()
            message = f"wheel folder {parts.path}" + ("" if there else " does not exist")
            yield Finding("network", "ok" if there else "warn", message, "" if there else "correct pip's find-links")
    proxies = [name for name in ("http_proxy", "https_proxy") if _either(case.settings, name)]
    yield Finding("network", "ok", f"proxy: {', '.join(proxies) or 'none'}")


def _certificates(settings: Settings) -> Iterator[Finding]:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if settings.host(name) and not Path(settings.host(name)).is_file():
            yield Finding("network", "warn", f"{name} names no file: {settings.host(name)}", f"correct or unset {name}")
    path = probes.ca_file(settings)
    if path is None:
        yield Finding("network", "warn", "there is no CA bundle", "apt-get install ca-certificates")
        return
    hint = ", with a CA of this site (TLS may be re-signed here)" if probes.has_own_ca() else ""
    yield Finding("network", "ok", f"CA bundle {path}{hint}")


def _pip_source(settings: Settings, key: str) -> str:
    return "environment" if settings.host("PIP_" + key.upper().replace("-", "_")) else "pip.conf"


def _either(settings: Settings, name: str) -> str:
    return settings.host(name) or settings.host(name.upper())


def look_at_git(case: Case) -> Iterator[Finding]:
    """git, and the repository around the working folder."""
    version = probes.git_version(case.start)
    found = probes.repository(case.folder, case.start)
    if found is None:
        yield Finding("git", "ok", f"{version}; {case.folder} is in no repository: name trees by --source")
    elif found.refused:
        remedy = f"git config --global --add safe.directory {found.top or case.folder}"
        yield Finding("git", "warn", f"{version}; git does not read {case.folder}: {found.refused}", remedy)
    else:
        dirty = "dirty: a release would refuse it" if found.dirty else "clean"
        yield Finding("git", "ok", f"{version}; {found.top} is {dirty}")
        if found.shallow:
            message = f"{version}; {found.top} is shallow: explain --against may not find a commit"
            yield Finding("git", "warn", message, "git fetch --unshallow")


def look_at_gpus(case: Case) -> Iterator[Finding]:
    """AMD device files, and whether this user may open them. Needs no root."""
    kfd, render = case.gpus()
    if not (kfd or render):
        yield Finding("gpus", "ok", "no GPU: suites run on CPU")
        return
    for problem in gpus.access(kfd, render, case.settings):
        yield Finding("gpus", "warn", problem.message, problem.hint)
    group = ", ".join(map(str, sorted({device.gid for device in (kfd, *render) if device})))
    yield Finding("gpus", "ok", f"{counted(len(render), 'render node')}, group {group}")


def look_at_amd_smi(case: Case) -> Iterator[Finding]:
    """Whether the driver answers questions, where there is a GPU and the program to ask."""
    if not case.gpus().render:
        return
    count = smi.count(case.start)
    if count is not None:
        yield Finding("amd-smi", "ok" if count else "warn", f"lists {counted(count, 'GPU')}")


def look_at_leases(case: Case) -> Iterator[Finding]:
    """Who uses GPUs of this host, and which of them are dirty."""
    try:
        held = tuple(lease for lease in leases.held(case.state) if lease.gpus)
    except ConfigError as error:  # of a newer version: its own business
        yield Finding("leases", "warn", error.problems[0].message, error.problems[0].hint)
        return
    for mark in dirty.marks(case.state):
        yield Finding("leases", "warn", str(mark), dirty.REMEDY)
    now = case.clock.now()
    for lease in held:
        message = f"{lease} holds {', '.join(lease.gpus)} until {lease.until:%H:%M}Z"
        if lease.left:
            yield Finding("leases", "warn", message, "inv reap --plan, then inv reap")
        elif lease.overdue(now):
            yield Finding("leases", "warn", f"{message}, overdue", f"see whether process {lease.pid} still works")
        else:
            yield Finding("leases", "ok", message)
    if not held:
        yield Finding("leases", "ok", "no GPU is leased")
