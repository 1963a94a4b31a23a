"""The pages of a package index: HTML by PEP 503 (with 592, 629, 658 and 714), JSON by PEP 691 and 700 beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from operator import attrgetter

from ..names import IndexPage
from .entries import Entry

_HEAD = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="pypi:repository-version" content="1.0">\n<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n'
)
_FOOT = "</body>\n</html>\n"
VARIANTS = "_variants"
"""A private key of the JSON root page (PEP 691 leaves names with ``_`` to us): the sub-indices there are."""


def project(page: IndexPage, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The two pages of one project, by path below ``simple/``; ``entries`` in any order."""
    path = str(page).partition("/")[2]
    up = page.up
    linked = [(entry, entry.url(up)) for entry in sorted(entries, key=_filename)]
    return {f"{path}index.html": _html(page, linked), f"{path}index.json": _json(page, linked)}


def root(page: IndexPage, projects: Iterable[str], variants: Sequence[str]) -> dict[str, bytes]:
    """The two pages that list the projects of an index or of one of its variants."""
    path = str(page).partition("/")[2]
    names = sorted(projects)
    links = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in names)
    html = _HEAD.format(title=escape(f"Packages{_of(page)}")) + links + _FOOT
    document = {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": name} for name in names],
        VARIANTS: list(variants),
    }
    return {f"{path}index.html": html.encode(), f"{path}index.json": _encoded(document)}


def everything(entries: Iterable[Entry]) -> dict[str, bytes]:
    """All pages of an index, projects before the pages that name them."""
    by_project: dict[str, list[Entry]] = {}
    for entry in entries:
        by_project.setdefault(entry.project, []).append(entry)
    variants = sorted({entry.variant for group in by_project.values() for entry in group} - {""})
    pages: dict[str, bytes] = {}
    for name in ("", *variants):
        chosen = _chosen(by_project, name)
        for key, group in chosen.items():
            pages |= project(IndexPage(name, key), group)
        pages |= root(IndexPage(name), chosen, () if name else variants)
    return pages


def _chosen(by_project: Mapping[str, list[Entry]], name: str) -> dict[str, list[Entry]]:
    if not name:
        return dict(by_project)
    fitting = {key: [entry for entry in group if entry.fits(name)] for key, group in by_project.items()}
    return {key: group for key, group in fitting.items() if group}


_filename = attrgetter("filename")
_escaped = cache(escape)
"""For texts that are the same on every line."""


def _of(page: IndexPage) -> str:
    return f" for {page.variant}" if page.variant else ""


def _html(page: IndexPage, linked: Sequence[tuple[Entry, str]]) -> bytes:
    lines = [_HEAD.format(title=escape(f"{page.project}{_of(page)}"))]
    for entry, url in linked:
        more = ""
        if entry.requires_python:
            more += f' data-requires-python="{_escaped(entry.requires_python)}"'
        if entry.metadata:
            digest = f"sha256={entry.metadata}"
            more += f' data-core-metadata="{digest}" data-dist-info-metadata="{digest}"'
        if entry.yanked is not None:
            more += f' data-yanked="{escape(entry.yanked)}"'
        lines.append(f'<a href="{escape(url)}#sha256={entry.sha256}"{more}>{escape(entry.filename)}</a><br>\n')
    lines.append(_FOOT)
    return "".join(lines).encode()


def _json(page: IndexPage, linked: Sequence[tuple[Entry, str]]) -> bytes:
    sized = all(entry.size >= 0 for entry, _ in linked)
    document = {
        "meta": {"api-version": "1.1" if sized else "1.0"},  # 1.1 promises a size for every file
        "name": page.project,
        "versions": sorted({entry.version for entry, _ in linked}),
        "files": [entry.to_json(url) for entry, url in linked],
    }
    return _encoded(document)


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
