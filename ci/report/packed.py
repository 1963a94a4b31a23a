"""A packed wheel as a person reads it, and as a document."""

from __future__ import annotations

from ..answer import Answer
from ..errors import Outcome
from ..wheels.job import Request, Result
from . import audits
from .units import size


def answer(result: Result) -> Answer:
    """The wheel, its bundle, and the audit in full where it found something."""
    audit = audits.answer(result.audit)
    made = result.made
    document = {
        "schema": 1,
        "outcome": audit.outcome,
        **{key: value for key, value in made.to_json().items() if key != "schema"},
        "wheel": str(result.wheel) if result.wheel else None,
        "sha256": result.sha256,
        "size": result.size,
        "bundle": str(result.bundle) if result.bundle else None,
        "bundle_sha256": result.bundle_sha256 or None,
        "audit": audit.document,
    }
    if result.wheel is None:
        return Answer(audit.outcome, f"{audit.text}\nthe wheel was not kept: it breaks its contract", document)
    archs = " ".join(made.archs) or "no device code"
    lines = [
        f"wheel   {result.wheel}  {size(result.size)}",
        f"        {archs}; ROCm {made.version.rocm}, torch {made.torch}",
        f"        sha256 {result.sha256}",
        f"bundle  {result.bundle}",
        f"        sha256 {result.bundle_sha256}",
        audit.text.splitlines()[-1],
        f"next: inv index {result.wheel.parent}",
    ]
    return Answer(audit.outcome, "\n".join(lines), document)


def planned(request: Request) -> Answer:
    """What would be made; every check that needs no compile has passed."""
    rocm = request.options.rocm
    version = str(request.version(rocm or "0"))
    shown = version if rocm else version.replace("+rocm.0", "+rocm.<the compiler's>")
    archs = request.compile.archs if request.compile else ()
    how = f"compile for {' '.join(archs)}" if archs else f"take the objects in {request.objects}"
    how = how if archs or request.objects else "no device code"
    document = {
        "schema": 1,
        "outcome": Outcome.OK,
        "plan": True,
        "project": request.source.name,
        "version": shown,
        "archs": list(archs),
        "files": list(request.source.files()),
        "out": str(request.out),
    }
    text = f"{request.source.name} {shown}: {how}, pack, audit, and put wheel and bundle into {request.out}"
    return Answer(Outcome.OK, text, document)
