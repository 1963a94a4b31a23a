"""Lists of tags, and what stands under a tag that is on its way out."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from .http import Response, address
from .registry_auth import Refused, json_object

TOMBSTONE = "org.rocm-ci.tombstone"
"""The annotation that only a tombstone has: the tag, and who dropped it when."""

_NEXT = re.compile(r'<([^>]+)>[^,<]*;\s*rel="?next"?(?=[\s,;]|$)', re.IGNORECASE)


class Page(NamedTuple):
    """One page of a list of tags, and the URL of the one after it; empty at the end."""

    names: tuple[str, ...]
    following: str


def page(answer: Response, url: str) -> Page:
    """What a 200 for ``url`` lists; raises ``Refused`` for anything that may be less than a page."""
    content = json_object(answer.body)
    names = content.get("tags", "")
    names = [] if names is None else names  # how one registry writes that all tags are gone
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("status 200, but not with a list of tags", 200)
    return Page(tuple(names), _following(answer.headers.get("link", ""), url))


def tombstone(tag: str, note: str) -> bytes:
    """An index of nothing, whose digest nothing shares as long as ``note`` is unique for this tag."""
    kind = "application/vnd.oci.image.index.v1+json"
    stone = {"schemaVersion": 2, "mediaType": kind, "manifests": [], "annotations": {TOMBSTONE: f"{tag} {note}"}}
    return json.dumps(stone, separators=(",", ":")).encode()


def _following(link: str, url: str) -> str:
    if not link:
        return ""
    found = _NEXT.search(link)
    if found is None:
        raise Refused("its list of tags goes on, but the Link header does not say where", 200)
    following = urljoin(url, str(found[1]))
    if urlsplit(following)[:3] != urlsplit(url)[:3]:
        raise Refused(f"its list of tags goes on at {address(following)}, which is another place", 200)
    return following
