"""What is attested of an image: how it was made, what is in it, and who signed it.

None of it decides an outcome or is part of an identity; what is missing is said in the record and in the summary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DeadlineError, InfraError
from ..names import Reference
from ..recipe.pins import MARK
from ..world import probes
from ..world.process import Command, Run, run
from . import builder
from .cache_look import Connect, hasty

if TYPE_CHECKING:
    from .workspace import Workspace

PROVENANCE = "type=provenance,mode=max"
SCANNER, PIN, KEY = "SBOM_SCANNER", "SBOM_SCANNER_DIGEST", "ROCM_CI_SIGNING_KEY"
"""The pins of the image that writes the SBOM, and the setting of the key that signs."""

_SIGNING = 120.0


class Attested(NamedTuple):
    """What a build is asked to attest, as entries of bake's ``attest``, and what a person is told of it."""

    words: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def without_sbom(self, why: str) -> Attested:
        """The same with nobody scanning the image."""
        return Attested((PROVENANCE,), ("provenance", f"no SBOM: {why}"))

    @property
    def scans(self) -> bool:
        """Whether an SBOM is asked for."""
        return len(self.words) > 1


def wanted(work: Workspace, connect: Connect | None = None) -> Attested:
    """Provenance always; an SBOM where its scanner is pinned and can be had now."""
    plain = Attested()
    image, digest = work.stack.pins.get(SCANNER, ""), work.stack.pins.get(PIN, "")
    if not image or not digest:
        return plain.without_sbom(f"no {SCANNER} is pinned")
    if digest.startswith(MARK):
        return plain.without_sbom(f"{image} is not pinned (inv pins --update {PIN}{work.stack.option})")
    if why := _unreachable(work, image, digest, connect or partial(hasty, work.clock)):
        return plain.without_sbom(f"{image} cannot be had: {why}")
    return Attested((PROVENANCE, f"type=sbom,generator={image}@{digest}"), ("provenance", f"SBOM by {image}"))


def _unreachable(work: Workspace, image: str, digest: str, connect: Connect) -> str:
    """Why the builder cannot get the scanner; empty where it can."""
    from ..world import registry as oci

    own = builder.driver(work.settings, work.engine.at) == builder.OWN
    if own and work.engine.image(f"{image}@{digest}"):
        return ""
    where = Reference.parse(image)
    host = where.host or "docker.io"
    path = where.path if where.host or "/" in where.path else f"library/{where.path}"
    answer = connect(host).head(path, digest)
    if isinstance(answer, oci.Absent):
        return f"{host} does not have {digest[:19]}"
    return answer.reason if isinstance(answer, oci.Unknown) else ""


def sign(work: Workspace, reference: str, start: Run = run, installed: Callable[[str], bool] = probes.installed) -> str:
    """Sign a published image where a key is configured; gives what a person is told.

    A signature that could not be made fails nothing: whoever verifies notices that it is missing.
    """
    key = work.settings.get(KEY).value
    if not key:
        return f"not signed: no key ({KEY})"
    if not installed("cosign"):
        return "not signed: cosign is not installed"
    command = Command(("cosign", "sign", "--yes", "--key", key, reference), deadline=_SIGNING)
    try:
        done = start(command)
    except (InfraError, DeadlineError) as error:
        return f"not signed: {error}"
    return "signed with cosign" if done.ok else f"not signed: cosign ended with {done.code}: {done.tail(1)}"
