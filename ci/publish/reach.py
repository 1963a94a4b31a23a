"""What leads to what in a repository: tags to manifests, indexes to those in them, images to what is about them.

An attestation or a manifest of inputs stands under the fallback tag ``sha256-<digest>`` of the image it is
about; whoever keeps the image keeps that tag, and everything under it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_FALLBACK = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})")


@dataclass(frozen=True)
class Repository:
    """A repository as it was seen, whole.

    ``name`` is ``host/path``; ``tags`` leads to digests; ``children`` has a row for every manifest that is there,
    with the manifests inside it; ``subjects`` says what a manifest is about; ``tombstones`` are manifests that were
    put under a tag only to drop it; ``deletes`` tells whether a manifest can be deleted by its digest.
    """

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    tombstones: frozenset[str] = frozenset()
    deletes: bool = True

    def kept_by(self, roots: Mapping[str, str]) -> dict[str, str]:
        """Every digest that ``roots`` (digest -> why it stays) lead to, with the reason of the root that does."""
        return self._closure(roots, upwards=True)

    def made_of(self, roots: Mapping[str, str]) -> dict[str, str]:
        """What would be left over with ``roots``: what is inside them and about them, never what they are about."""
        return self._closure(roots, upwards=False)

    def _closure(self, roots: Mapping[str, str], *, upwards: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        pending = list(roots.items())
        while pending:
            digest, why = pending.pop()
            if digest in found:
                continue
            found[digest] = why
            nearby = set(self.children.get(digest, ()))
            if about := self.tags.get(digest.replace(":", "-")):
                nearby.add(about)
            if upwards and digest in self.subjects:
                nearby.add(self.subjects[digest])
            pending += [(each, why) for each in sorted(nearby)]
        return found


def subject(tag: str) -> str:
    """The digest that a fallback tag is about; empty for any other tag."""
    match = _FALLBACK.fullmatch(tag)
    return f"sha256:{match['hex']}" if match else ""
