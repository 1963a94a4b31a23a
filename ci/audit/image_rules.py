"""The contract of an image, one function for each rule: findings, none when it is kept, or ``Skip``.

To add a rule, write the function and name it in ``RULES``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import installed, rules, secrets
from .closure import Closure
from .facts import Case, Facts, Finding, Skip, Wanted
from .image_facts import ImageCase, ImageFacts
from .installed import Distribution

Rule = Callable[[ImageCase], Sequence[Finding] | Skip]

_LARGEST = 10
_REVOKE = (
    "give it to the build as a secret (RUN --mount=type=secret), build again, and revoke it: "
    "whoever has the image has it"
)
_UNSWAP = (
    "an installer replaced what the base was compiled against: install with --no-deps, or with the base's constraints"
)


def readable(case: ImageCase) -> Sequence[Finding]:
    """Every program, library and native file of a component can be read to its end."""
    return [
        Finding(f"/{node.entry.path}", problem.message, problem.hint or "build it again, or copy it again")
        for node in case.facts.tree.files()
        for problem in node.kept.problems
    ]


def closure(case: ImageCase) -> Sequence[Finding] | Skip:
    """Every library that a program or library needs is in the image, where the dynamic linker looks."""
    found = Closure(case.facts.tree, case.facts.saved.config, case.libraries)
    if not found.machine:
        return Skip(
            f"nobody here knows the linker of {case.facts.saved.config.get('architecture', 'its architecture')}"
        )
    return list(found.findings()) if len(found) else Skip("it has no program and no library of its architecture")


def archs(case: ImageCase) -> Sequence[Finding] | Skip:
    """The native files of each component are there, with device code for every target of its argument."""
    if not case.contract.components:
        return Skip("no component is named (--arch, or a tier with components)")
    if all(case.absent(component) for component in case.contract.components):
        return Skip("; ".join(map(case.absent, case.contract.components)))
    return [
        finding
        for component in case.contract.components
        if not case.absent(component)
        for finding in _archs(case, component.name, component.files, component.archs)
    ]


def _archs(case: ImageCase, name: str, patterns: Sequence[str], argument: str) -> Iterator[Finding]:
    nodes = {node.entry.path: node for pattern in patterns for node in case.facts.tree.matching(pattern)}
    code = tuple(node.kept.code for node in nodes.values() if node.kept.code)
    if not code and not any(node.kept.problems for node in nodes.values()):
        hint = "install what its stage built, or correct `files` in the contract"
        yield Finding(name, f"no native file of it is in the image: {', '.join(patterns)}", hint)
        return
    value = case.values[argument]
    wanted = Wanted(tuple(value.split(";")))
    found = rules.archs(Case(Facts(name, 0, code, ()), wanted, case.libraries))
    for finding in () if isinstance(found, Skip) else found:
        yield finding._replace(message=f"{finding.message}; {argument} is {value}")


def imports(case: ImageCase) -> Sequence[Finding] | Skip:
    """Every declared module imports in the image, without a network and without a GPU."""
    if not case.facts.tried:
        return Skip("no module is named (--import, or a tier with imports)")
    hint = "see its last words; install what is missing, or take the module out of the contract"
    return [
        Finding(each.module, f"import {each.module} {each.wrong} under {each.python}", hint, each.said)
        for each in case.facts.tried
        if each.wrong
    ]


def protected(case: ImageCase) -> Sequence[Finding] | Skip:
    """Packages that everything was compiled against are as the base recorded them."""
    wanted = case.contract.protected
    if wanted is None:
        return Skip("no package is protected")
    node = case.facts.tree.at(wanted.record)
    if node is None:
        hint = "the base writes it with protected.py; build on a base that did"
        return [Finding(wanted.record, "the base left no record of the protected packages", hint)]
    try:
        record: Mapping[str, Mapping[str, str]] = json.loads(node.kept.text)
        kept = {name: (str(row["version"]), str(row["sha256"])) for name, row in record.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return [Finding(wanted.record, "it is no record of protected.py", "build the base again")]
    return [*_rewritten(case.facts, wanted.record), *_changed(case.facts, kept, wanted.packages)]


def _rewritten(facts: ImageFacts, record: str) -> Iterator[Finding]:
    """A record that a later layer wrote again proves nothing."""
    path = facts.tree.real(record)
    layers = [number for number, layer in enumerate(facts.saved.layers) for each in layer.entries if each.path == path]
    for number in layers[1:]:
        hint = "only the base writes it; let later images call protected.py check"
        yield Finding(record, "a later layer wrote the record of the base again", hint, facts.layer(number))


def _changed(facts: ImageFacts, kept: Mapping[str, tuple[str, str]], packages: Sequence[str]) -> Iterator[Finding]:
    for name in packages:
        copies = [each for each in facts.distributions if each.name == name]
        if name not in kept:
            for each in copies:
                yield Finding(f"/{each.folder}", f"{name} {each.version} came in, and the base had none", _UNSWAP)
        elif not copies:
            yield Finding(name, f"{name} {kept[name][0]} of the base is gone", _UNSWAP)
        for each in copies if name in kept else ():
            yield from _compared(facts, each, *kept[name])


def _compared(facts: ImageFacts, found: Distribution, version: str, digest: str) -> Iterator[Finding]:
    files = installed.covered(facts.tree, found)
    if found.version != version:
        message = f"{found.name} is {found.version}; the base recorded {version}"
        yield Finding(f"/{found.folder}", message, _UNSWAP, _came(facts, f"{found.folder}/METADATA"))
    elif installed.fingerprint(files) != digest:
        suspects, what = _suspects(facts, files)
        subject = suspects[0].path if suspects else found.folder
        more = f"; {len(suspects) - 1} more" if len(suspects) > 1 else ""
        message = f"{found.name} {version} is not as the base recorded it: this file {what}{more}"
        yield Finding(f"/{subject}", message, _UNSWAP, _came(facts, subject))


def _suspects(facts: ImageFacts, files: Sequence[installed.File]) -> tuple[Sequence[installed.File], str]:
    """The files a fingerprint most likely differs for: the base recorded one digest over all of them."""
    nodes = {file: facts.tree.at(file.path) for file in files}
    if gone := [file for file, node in nodes.items() if node is None]:
        return gone, "is gone"
    if altered := [file for file in files if file.recorded and file.digest != file.recorded]:
        return altered, "is not the one its installer recorded"
    newest = max((node.layer for node in nodes.values() if node), default=0)
    return [file for file, node in nodes.items() if node and node.layer == newest], "is among those that came last"


def _came(facts: ImageFacts, path: str) -> str:
    node = facts.tree.at(path)
    return f"layer {node.layer + 1}: {facts.layer(node.layer)}" if node else ""


def forbidden(case: ImageCase) -> Sequence[Finding] | Skip:
    """No distribution of another vendor's stack came in."""
    if not case.contract.tier:
        return Skip("no tier's contract is asked for (--tier)")
    found = []
    for each in case.facts.distributions:
        if entry := case.libraries.refused("requires", each.name):
            message = f"{each.name} {each.version} is installed: {entry.why}"
            found.append(Finding(f"/{each.folder}", message, _UNSWAP, _came(case.facts, f"{each.folder}/METADATA")))
    return found


def budget(case: ImageCase) -> Sequence[Finding] | Skip:
    """All layers together are no larger than they may be."""
    limit = case.contract.budget
    if not limit:
        return Skip("no budget was given (--budget-mb, or most_mb of a tier)")
    if case.facts.size <= limit:
        return []
    message = f"{case.facts.size:,} bytes; {limit:,} are allowed. The largest layers:"
    hint = "remove in the same RUN what it needs for a moment only, or raise most_mb with the reason in the commit"
    return [Finding(case.facts.name, message, hint, "\n".join(largest_layers(case.facts)))]


def largest_layers(facts: ImageFacts) -> Iterator[str]:
    """The table of layers, largest first: bytes, place from the root up, and what made it."""
    rows = sorted(((layer.size, number) for number, layer in enumerate(facts.saved.layers)), reverse=True)
    for size, number in rows[:_LARGEST]:
        yield f"{size:>14,} layer {number + 1}: {' '.join(facts.layer(number).split())[:160]}"


def wheels(case: ImageCase) -> Sequence[Finding] | Skip:
    """The wheels that must lie in it do, and none is smaller than a real one can be."""
    if not case.contract.wheels:
        return Skip("no wheel has to lie in it")
    return [finding for each in case.contract.wheels for finding in _wheels(case.facts, each.files, each.least)]


def _wheels(facts: ImageFacts, pattern: str, least: int) -> Iterator[Finding]:
    nodes = facts.tree.matching(pattern)
    if not nodes:
        yield Finding(pattern, "no wheel is there", "copy what its stage built; see that stage's log")
    for node in nodes:
        if node.entry.size < least:
            message = f"it has {node.entry.size:,} bytes; a real one has {least:,} at least"
            hint = "its native parts are missing: see the log of the stage that built it"
            yield Finding(f"/{node.entry.path}", message, hint)


def no_secrets(case: ImageCase) -> Sequence[Finding]:
    """No key, token or password is in its history, its config or any of its layers, deleted files included."""
    return [*_in_layers(case.facts), *_in_config(case.facts.saved.config)]


def _in_layers(facts: ImageFacts) -> Iterator[Finding]:
    for number, layer in enumerate(facts.saved.layers):
        for entry in layer.entries:
            for what in entry.kept.secrets if entry.kept else ():
                node = facts.tree.at(entry.path)
                hidden = (
                    "" if node and node.layer == number else "; a later layer hides it, and it is there all the same"
                )
                message = f"layer {number + 1} of {len(facts.saved.layers)} has {what} in it{hidden}"
                yield Finding(f"/{entry.path}", message, _REVOKE, facts.layer(number))


def _in_config(config: Mapping[str, Any]) -> Iterator[Finding]:
    for subject, text in _told(config):
        for what in dict.fromkeys(map(str, secrets.in_text(text))):
            yield Finding(subject, f"the image's config has {what} in it", _REVOKE)


def _told(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a config document, and what to call it."""
    run = config.get("config") or {}
    for line in run.get("Env") or ():
        yield f"ENV {line.partition('=')[0]}", _quoted(line)
    for key, value in (run.get("Labels") or {}).items():
        yield f"label {key}", _quoted(f"{key}={value}")
    for key in ("Entrypoint", "Cmd", "OnBuild", "Healthcheck"):
        if run.get(key):
            yield key, json.dumps(run[key])
    for number, row in enumerate(config.get("history") or (), 1):
        yield f"history {number}", f"{row.get('created_by', '')} {row.get('comment', '')}"


def _quoted(line: str) -> str:
    """``NAME=value``, the value in quotes so that all of it counts."""
    name, _, value = line.partition("=")
    return f"{name}={json.dumps(value, ensure_ascii=False)}" if '"' not in value else line


RULES: tuple[tuple[str, Rule], ...] = (
    ("readable", readable),
    ("closure", closure),
    ("archs", archs),
    ("imports", imports),
    ("protected", protected),
    ("forbidden", forbidden),
    ("budget", budget),
    ("wheels", wheels),
    ("secrets", no_secrets),
)

NAMES = tuple(name for name, _ in RULES)
