"""An audit as a person reads it, and as a document: files, targets, kernels, and how every rule went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..answer import Answer
from ..audit.facts import Allowed, Audit, Finding, Part, Verdict
from ..audit.image_facts import ImageAudit
from ..audit.image_rules import largest_layers
from ..audit.inspect import CodeObject, Inspection
from ..errors import Outcome
from ..printable import printable
from .units import clip, counted, size

_KERNELS = 40
"""Kernels shown in text for one file; the JSON document has them all."""

_WAIVED = 3
"""Findings shown in text for one reason not to count them."""

_NAME = 48
_HEADS = ("kernel", "target", "VGPR", "AGPR", "SGPR", "LDS", "scratch", "spills")


def answer(audit: Audit) -> Answer:
    """The whole audit; one broken rule makes the outcome ``contract``."""
    outcome = Outcome.CONTRACT if audit.broken else Outcome.OK
    lines = [line for part in audit.parts for line in _part(part)]
    lines += _unused(audit.unused)
    lines.append(_sum([verdict for part in audit.parts for verdict in part.verdicts], len(audit.broken)))
    document = {
        "schema": 1,
        "outcome": outcome,
        "target": str(audit.target),
        "wanted": {"archs": list(audit.wanted.archs), "budget": audit.wanted.budget, "module": audit.wanted.module},
        "unused": [each._asdict() for each in audit.unused],
        "parts": [_document(part) for part in audit.parts],
    }
    return Answer(outcome, "\n".join(lines), document)


def of_image(audit: ImageAudit) -> Answer:
    """The audit of an image; one broken rule makes the outcome ``contract``."""
    facts, broken = audit.facts, audit.broken
    by = f"contract of tier {audit.contract.tier}" if audit.contract.tier else "general rules"
    layers = counted(len(facts.saved.layers), "layer")
    lines = [f"{printable(facts.name)}  {facts.digest[:19]}  {size(facts.size)} in {layers}  ({by})"]
    lines += [line for rule, finding in broken for line in _finding(rule, finding)]
    lines += [f"  {line}" for line in largest_layers(facts)]
    lines += _verdicts(audit.verdicts)
    lines += [f"  {note}" for note in audit.notes]
    lines += [*_unused(audit.unused), _sum(audit.verdicts, len(broken))]
    return Answer(Outcome.CONTRACT if broken else Outcome.OK, "\n".join(lines), audit.to_json())


def _part(part: Part) -> Iterator[str]:
    facts = part.facts
    broken = [verdict for verdict in part.verdicts if verdict.findings]
    yield f"{printable(facts.name)}  {size(facts.size)}"
    for verdict in broken:
        for finding in verdict.findings:
            yield from _finding(verdict.rule, finding)
    device = [file for file in facts.files if file.objects]
    for file in device:
        yield f"  {_file(file)}"
        yield from (f"    {line}" for line in _kernels(file))
    host = len(facts.files) - len(device)
    if host:
        yield f"  {counted(host, 'file')} without device code"
    yield from _verdicts(part.verdicts)


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        if verdict.state != "skipped":
            yield from _verdict(verdict)
    reasons = dict.fromkeys(verdict.why for verdict in verdicts if verdict.state == "skipped")
    for why in reasons:
        rules = ", ".join(verdict.rule for verdict in verdicts if verdict.why == why)
        yield f"  not applied: {rules}: {why}"


def _unused(exceptions: Sequence[Allowed]) -> list[str]:
    return [f"exception that covers nothing: {each.rule}:{each.pattern}" for each in exceptions]


def _finding(rule: str, finding: Finding) -> Iterator[str]:
    yield f"  BROKEN {rule}: {printable(finding.subject)}: {printable(finding.message)}"
    yield from (f"         {printable(line)}" for line in finding.context.splitlines())
    if finding.hint:
        yield f"         → {printable(finding.hint)}"


def _file(file: Inspection) -> str:
    packed = ", compressed" if any(each.compressed for each in file.objects) else ""
    forms = sorted({each.form for each in file.objects if each.form != "elf"})
    what = f", {' and '.join(forms)}" if forms else ""
    ids = sorted({each.target_id for each in file.objects})
    number = counted(len(file.objects), "code object")
    return f"{printable(str(file.path))}  {size(file.size)}  {' '.join(map(printable, ids))}  ({number}{what}{packed})"


def _kernels(file: Inspection) -> Iterator[str]:
    rows = sorted({row for each in file.objects for row in _rows(each)})
    if not rows:
        return
    width = max(len(row[0]) for row in (*rows[:_KERNELS], _HEADS))
    wide = max(len(row[1]) for row in (*rows[:_KERNELS], _HEADS))
    for row in (_HEADS, *rows[:_KERNELS]):
        numbers = " ".join(f"{text:>7}" for text in row[2:])
        yield f"{row[0]:{width}}  {row[1]:{wide}} {numbers}"
    if len(rows) > _KERNELS:
        yield f"and {counted(len(rows) - _KERNELS, 'row')} more (--json has them all)"


def _rows(found: CodeObject) -> Iterator[tuple[str, ...]]:
    for kernel in found.kernels:
        numbers = (kernel.vgprs, kernel.agprs, kernel.sgprs, kernel.lds, kernel.scratch)
        spills = f"{kernel.vgpr_spills}+{kernel.sgpr_spills}"
        yield (clip(kernel.name, _NAME), clip(found.target_id, _NAME), *map(str, numbers), spills)


def _verdict(verdict: Verdict) -> Iterator[str]:
    found = f": {counted(len(verdict.findings), 'finding')}" if verdict.findings else ""
    yield f"  {verdict.state:6} {verdict.rule}{found}"
    shown = Counter[str]()
    for waived in verdict.waived:
        shown[waived.by.reason] += 1
        if shown[waived.by.reason] <= _WAIVED:
            told = f"{printable(waived.finding.subject)}: {printable(waived.finding.message)}"
            yield f"         allowed, {printable(waived.by.reason)}: {told}"
    for reason, count in shown.items():
        if count > _WAIVED:
            yield f"         allowed, {printable(reason)}: {count - _WAIVED} more (--json has them all)"


def _sum(rules: Sequence[Verdict], broken: int) -> str:
    kept = sum(verdict.state == "kept" for verdict in rules)
    skipped = sum(verdict.state == "skipped" for verdict in rules)
    waived = sum(len(verdict.waived) for verdict in rules)
    notes = f", {counted(waived, 'exception')}" if waived else ""
    rest = f"{counted(kept, 'rule')} kept, {skipped} not applied{notes}"
    if broken:
        return f"BROKEN: {counted(broken, 'finding')}; {rest}"
    return f"ok: {rest}"


def _document(part: Part) -> dict[str, Any]:
    facts = part.facts
    return {
        "name": facts.name,
        "size": facts.size,
        "files": [_file_document(file) for file in facts.files],
        "rules": [verdict.to_json() for verdict in part.verdicts],
    }


def _file_document(file: Inspection) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "kind": file.kind,
        "size": file.size,
        "targets": list(file.targets),
        "host": asdict(file.host) if file.host else None,
        "objects": [asdict(each) for each in file.objects],
    }
