"""What of a release is not what its manifest says: read from the registry and the store, byte for byte.

Each function gives what is wrong, and raises ``InfraError`` where nobody could tell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from ..audit import agreement, contents
from ..build.lookup import remote_identity
from ..errors import ContractError, Problem
from ..names import variant, wheel_path
from ..wheels.wheelfile import named
from ..world import files
from ..world.store import METADATA, PAGES, WHEEL, Store
from . import clashes, images, index
from .manifest import MANIFEST, ImageRow, Release, WheelRow
from .places import Places

_DAMAGED = "somebody wrote there; remove it and the release's manifest by hand, then run the same command again"


class Inside(NamedTuple):
    """What is written in a wheel: the digests of its files (RECORD), and what it requires."""

    record: str
    requires: tuple[str, ...]


def document(places: Places, release: Release) -> Iterator[Problem]:
    """The manifest that stands is this release, date and tests too."""
    where = f"{places.store.name}/{release.commit}/{MANIFEST}"
    stood = places.release(release.commit)
    if stood is None:
        yield Problem("no-release", f"there is no {where}", "somebody removed it; run the same command again")
    elif stood != release:
        found = tuple(clashes.differences(stood, release, where))
        message = f"{where} has another date or other tests than this release"
        yield from found or (Problem("other-release", message, "run the same command again: it takes what stands"),)


def image(places: Places, release: Release, row: ImageRow) -> Iterator[Problem]:
    """The tag that stays names the digest, whose manifest is there, and whose label is the identity."""
    tag = images.staying_tag(places, release, row)
    shown = places.reference(tag)
    digest = images.digest_at(places, tag)
    if digest != row.digest:
        context = f"the tag names    {digest or 'nothing'}\nthe release has  {row.digest}"
        yield Problem("moved-tag", f"{shown} is not the image that was released", _DAMAGED, context)
    lost = list(_lost(places, row.digest))
    if lost:
        message = f"the image {row.name} ({row.digest}) is not whole in the registry"
        yield Problem("no-image", message, _DAMAGED, "\n".join(lost))
        return
    if places.place:
        name = f"{places.channel.repository}:{tag}"
        label = remote_identity(images.registry_of(places), places.place, name, row.digest)
        if label != row.identity:
            context = f"its label says   {label or 'nothing'}\nthe release has  {row.identity}"
            message = f"the image {row.name} ({row.digest}) is of another identity"
            yield Problem("other-identity", message, "build it again; a label never lies about its recipe", context)


def _lost(places: Places, digest: str) -> Iterator[str]:
    """Every manifest, config and layer below a digest that the registry does not have."""
    found = images.manifest_at(places, digest)
    if found is None:
        yield f"no manifest {digest}"
        return
    document = json.loads(found[1])
    for child in document.get("manifests", ()):
        yield from _lost(places, child["digest"])
    registry = images.registry_of(places)
    for blob in (*filter(None, [document.get("config")]), *document.get("layers", ())):
        if not registry.has_blob(places.repository, blob["digest"], blob["size"]):
            yield f"no blob {blob['digest']} of {blob['size']} bytes"


def wheel(store: Store, commit: str, row: WheelRow, inside: dict[str, Inside]) -> Iterator[Problem]:
    """The wheel's bytes and the metadata beside it; what is written in it goes to ``inside``, by digest."""
    path = f"{commit}/{wheel_path(row.sha256, row.filename)}"
    yield from _beside(store, path, row)
    found = store.stored(path)
    if found is None:
        yield Problem("no-wheel", f"there is no {store.name}/{path}", _DAMAGED)
        return
    with files.disk_errors(f"cannot read {store.name}/{path}"), store.opened(path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if digest != row.sha256:
            context = f"its SHA-256 is   {digest}\nthe release has  {row.sha256}"
            yield Problem("wheel-bytes", f"{store.name}/{path} has other bytes than the release", _DAMAGED, context)
            return
        try:
            with contents.opened(path, stream, stream.tell()) as opened:
                yield from _names(row, opened, inside)
        except ContractError as error:
            yield from error.problems


def _beside(store: Store, path: str, row: WheelRow) -> Iterator[Problem]:
    beside = path.removesuffix(WHEEL) + METADATA
    data = store.read(beside)
    if data is None:
        yield Problem("no-metadata", f"there is no {store.name}/{beside}", _DAMAGED)
    elif hashlib.sha256(data).hexdigest() != row.metadata:
        yield Problem("metadata-bytes", f"{store.name}/{beside} is not the METADATA of the wheel", _DAMAGED)


def _names(row: WheelRow, opened: contents.Opened, inside: dict[str, Inside]) -> Iterator[Problem]:
    """File name, dist-info, METADATA, WHEEL and the release's own row say the same."""
    from email.parser import BytesHeaderParser

    data = opened.text("METADATA")
    said = BytesHeaderParser().parsebytes(data)
    wrong = (
        *agreement.names(row.filename, opened.dist_info, said),
        *agreement.tags(row.filename, BytesHeaderParser().parsebytes(opened.text("WHEEL"))),
    )
    for each in wrong:
        yield Problem("wheel-disagrees", f"{row.filename}: {each.subject}: {each.message}", each.hint)
    inside[row.sha256] = Inside(opened.text("RECORD").decode(), tuple(map(str, said.get_all("Requires-Dist", ()))))
    name = named(row.filename)
    pairs = (
        ("name", row.project, name.project),
        ("version", row.version, name.version),
        ("Requires-Python", row.requires_python, str(said["Requires-Python"] or "").strip()),
        ("METADATA", row.metadata, hashlib.sha256(data).hexdigest()),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            context = f"the wheel says   {theirs}\nthe release has  {ours}"
            yield Problem("wheel-disagrees", f"{row.filename} has another {what} than the release", _DAMAGED, context)


def together(release: Release, inside: dict[str, Inside]) -> Iterator[Problem]:
    """One version is the release's, all labels are of one ROCm, and no wheel requires another version of a second."""
    versions = {row.project: row.version for row in release.wheels}
    for row in release.wheels:
        if versions[row.project] != row.version:
            message = f"the release has {row.project} {row.version} and {versions[row.project]}"
            yield Problem("two-versions", message, "nobody can install both: release one of them")
    if release.wheels and release.version not in {row.version for row in release.wheels}:
        message = f"the release is called {release.version}, which is the version of none of its wheels"
        yield Problem("release-version", message, "it is named after one of them", ", ".join(versions.values()))
    ours = variant(release.version.partition("+")[2])
    for row in release.wheels:
        theirs = variant(row.version.partition("+")[2])
        if theirs and theirs != ours:
            message = f"{row.filename} is for {theirs}, the release {release.version} for {ours or 'no ROCm'}"
            yield Problem("other-variant", message, "build all wheels of a release for one ROCm")
        for text in inside[row.sha256].requires if row.sha256 in inside else ():
            yield from _required(row, text, versions)


def _required(row: WheelRow, text: str, versions: dict[str, str]) -> Iterator[Problem]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        wanted = Requirement(text)
    except InvalidRequirement:
        yield Problem("wheel-disagrees", f"{row.filename} requires {text!r}, which nobody can read", "build it again")
        return
    has = versions.get(canonicalize_name(wanted.name))
    if has is not None and not wanted.specifier.contains(has, prereleases=True):
        message = f"{row.filename} requires {text}, and the release has {wanted.name} {has}"
        yield Problem("set-disagrees", message, "build it against the wheels it is released with")


def pages(store: Store, release: Release) -> Iterator[Problem]:
    """The staged index is what the manifest gives, page by page, and no page more."""
    wanted = index.of_set(release)
    home = store.within(release.commit)
    for path, data in wanted.items():
        found = home.read(f"{PAGES}/{path}")
        if found != data:
            what = "is not what the release gives" if found is not None else "is missing"
            yield Problem("page", f"{home.name}/{PAGES}/{path} {what}", _DAMAGED)
    for stored in home.below(PAGES):
        path = stored.path.removeprefix(f"{PAGES}/")
        if path not in wanted:
            yield Problem("page", f"{home.name}/{PAGES}/{path} belongs to no release", _DAMAGED)


def suites(release: Release) -> Iterator[Problem]:
    """Every suite ran on images that are released, and on no other."""
    released = {row.digest for row in release.images}
    for row in release.suites:
        if not row.digests or not released.issuperset(row.digests):
            context = f"it ran on        {', '.join(row.digests)}\nthe release has  {', '.join(sorted(released))}"
            message = f"suite {row.suite} ran on other images than those released"
            yield Problem("suite-elsewhere", message, "run it on these; nothing else proves them", context)
