"""The contract, one function for each rule: findings, none when it is kept, or ``Skip`` where it does not apply.

To add a rule, write the function and name it in ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from . import naming, resolving
from .facts import Case, Finding, Skip
from .inspect import Inspection
from .wheel import HASHES, Wheel

Rule = Callable[[Case], Sequence[Finding] | Skip]

_NOT_LISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_REPACK = "a file was changed after RECORD was written: change it before, or use `wheel unpack` and `wheel pack`"
_LARGEST = 10


def readable(case: Case) -> Sequence[Finding]:
    """Every file that is a binary, or says so by its name, can be read to its end."""
    return [
        Finding(str(problem.place or case.facts.name).rpartition(":")[2], problem.message, problem.hint)
        for problem in case.facts.problems
    ]


def record(case: Case) -> Sequence[Finding] | Skip:
    """RECORD lists every file, each once, with its true hash and size, and nothing else."""
    wheel = case.facts.wheel
    if wheel is None:
        return Skip("not a wheel")
    return list(_record(wheel))


def _record(wheel: Wheel) -> Iterator[Finding]:
    members = {member.name: member for member in wheel.members}
    unlisted = {f"{wheel.dist_info}/{name}" for name in _NOT_LISTED}
    seen = set()
    for row in wheel.rows:
        if row.path in seen:
            yield Finding(row.path, "RECORD lists it twice", _REPACK)
        seen.add(row.path)
        member = members.get(row.path)
        if member is None:
            yield Finding(row.path, "RECORD lists it, but it is not there", _REPACK)
        elif row.path in unlisted:
            continue
        elif row.digest.partition("=")[0] not in HASHES:
            yield Finding(row.path, f"RECORD has no usable hash of it: {row.digest or 'none'}", _REPACK)
        elif row.digest.rstrip("=") != member.digest:
            yield Finding(row.path, "its hash is not the one in RECORD", _REPACK, f"{member.digest}, not {row.digest}")
        elif row.size and row.size != str(member.size):
            yield Finding(row.path, f"it has {member.size} bytes, and RECORD says {row.size}", _REPACK)
    for name in members.keys() - seen - unlisted:
        yield Finding(name, "it is in the wheel, but not in RECORD", _REPACK)


def archs(case: Case) -> Sequence[Finding] | Skip:
    """Every file with device code has it for every target that was asked for, in each of its bundles."""
    if not case.wanted.archs:
        return Skip("no targets were asked for (--arch)")
    groups = _by_file(case.facts.files)
    if not groups:
        message = "it has no device code at all"
        hint = "the wheel was built without a HIP compiler, or its device code lies in files that are missing"
        return [Finding(case.facts.name, message, hint)]
    found = (_lacking(name, bundles, case.wanted.archs) for name, bundles in sorted(groups.items()))
    return [finding for finding in found if finding]


def _lacking(name: str, bundles: Mapping[str, set[str]], wanted: Sequence[str]) -> Finding | None:
    lacking = {where: gone for where, has in bundles.items() if (gone := set(wanted) - has)}
    if not lacking:
        return None
    missing = [arch for arch in wanted if any(arch in each for each in lacking.values())]
    has = sorted(set().union(*bundles.values()))
    some = f" in {len(lacking)} of {len(bundles)} bundles" if len(bundles) > 1 else ""
    hint = f"compile all of it with --offload-arch={' --offload-arch='.join(wanted)}"
    context = "\n".join(sorted(lacking)[:_LARGEST]) if some else ""
    return Finding(name, f"no device code for {', '.join(missing)}{some}; it has {', '.join(has)}", hint, context)


def _by_file(files: Sequence[Inspection]) -> dict[str, dict[str, set[str]]]:
    """Targets by file and bundle: each bundle comes from a source file of its own and can lack a target of its own.

    Files of one target each, whose names differ in that target only, are one file of several.
    """
    groups: dict[str, dict[str, set[str]]] = {}
    for file in files:
        alone = len(file.targets) == 1 and file.kind in {"code-object", "bundle", "bitcode"}
        name = str(file.path).replace(file.targets[0], "{target}") if alone else str(file.path)
        for each in file.objects:
            where = each.origin.replace(each.target, "{target}")
            groups.setdefault(name, {}).setdefault(where, set()).add(each.target)
    return groups


def forbidden(case: Case) -> Sequence[Finding] | Skip:
    """Nothing of another vendor's stack, and no copy of what must exist once."""
    return [
        Finding(subject, f"{what} {name}: {entry.why}", "--allow forbidden:PATTERN=REASON makes an exception")
        for subject, what, place, name in _names(case)
        if (entry := case.libraries.refused(place, name))
    ]


def _names(case: Case) -> Iterator[tuple[str, str, str, str]]:
    for file in case.facts.files:
        if file.host is not None:
            yield from ((str(file.path), "needs", "needed", name) for name in file.host.needed)
    wheel = case.facts.wheel
    if wheel is not None:
        for member in wheel.members:
            yield member.name, "contains", "member", member.name.rpartition("/")[2]
        for requirement in naming.requirements(wheel):
            yield "METADATA", "requires", "requires", requirement.name


def budget(case: Case) -> Sequence[Finding] | Skip:
    """It is no larger than it may be."""
    if not case.wanted.budget:
        return Skip("no budget was given (--budget-mb)")
    if case.facts.size <= case.wanted.budget:
        return []
    largest = sorted(case.facts.sizes, key=lambda pair: (-pair[1], pair[0]))[:_LARGEST]
    context = "\n".join(f"{size:>14,} {name}" for name, size in largest)
    message = f"{case.facts.size:,} bytes; {case.wanted.budget:,} are allowed. The largest parts:"
    hint = "fewer targets, --offload-compress, or stripped binaries make it smaller"
    return [Finding(case.facts.name, message, hint, context)]


RULES: tuple[tuple[str, Rule], ...] = (
    ("readable", readable),
    ("record", record),
    ("archs", archs),
    ("forbidden", forbidden),
    ("budget", budget),
    ("names", naming.names),
    ("place", naming.place),
    ("tags", naming.tags),
    ("built-with", naming.built_with),
    ("glibc", resolving.glibc),
    ("resolves", resolving.resolves),
)
