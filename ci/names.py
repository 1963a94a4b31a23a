"""Every name that outlives a run: format and parse, side by side, round-trip tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

TAG_VERSION = "v1"
"""Changes when the meaning of an identity changes; an old tag then can never be taken for a new one."""

_HEX64 = r"[0-9a-f]{64}"
_CONTENT_TAG = re.compile(rf"(?P<tier>[a-z0-9][a-z0-9-]*?)-{TAG_VERSION}-(?P<identity>{_HEX64})")
_ARTIFACT_TAG = re.compile(rf"(?P<tier>[a-z0-9][a-z0-9-]*?)-artifact-(?P<key>{_HEX64})")
_RELEASE_TAG = r"(?:(?P<image>[a-z][a-z0-9_]*)-)?(?:{word}(?:-(?P<commit>[0-9a-f]{{40}}))?|v(?P<version>\d[0-9a-z.]*))"
_IMAGE_TAG = re.compile(r"(?P<image>[a-z][a-z0-9_]*)(?:-(?P<commit>[0-9a-f]{40}))?", re.ASCII)
_JOURNAL = re.compile(r"journal/(?P<sequence>\d{8})-(?P<run>\d{8}T\d{6}Z-[0-9a-f]{8})\.json")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>localhost(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?|{_LABEL}(?:\.{_LABEL})+(?::\d+)?|{_LABEL}:\d+)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    rf"(?:@(?P<digest>sha256:{_HEX64}))?",
    re.ASCII,
)


class ContentTag(NamedTuple):
    """The tag made from an identity: ``ci-base-v1-<64 hex>``."""

    tier: str
    identity: str

    def __str__(self) -> str:
        return f"{self.tier}-{TAG_VERSION}-{self.identity}"

    @classmethod
    def parse(cls, text: str) -> ContentTag | None:
        """The content tag in ``text``, or None for any other tag."""
        match = _CONTENT_TAG.fullmatch(text)
        return cls(match["tier"], match["identity"]) if match else None


class ArtifactTag(NamedTuple):
    """The tag of an image made out of its parent and an artifact bundle: ``test-artifact-<64 hex>``.

    ``key`` is the SHA-256 of what it was made from, the parent's digest and the bundle's manifest.
    """

    tier: str
    key: str

    def __str__(self) -> str:
        return f"{self.tier}-artifact-{self.key}"

    @classmethod
    def parse(cls, text: str) -> ArtifactTag | None:
        """The artifact tag in ``text``, or None for any other tag."""
        match = _ARTIFACT_TAG.fullmatch(text)
        return cls(match["tier"], match["key"]) if match else None


@dataclass(frozen=True, slots=True)
class BundleName:
    """The file name of an artifact bundle: ``test-v1-<identity of the tier>.tar``."""

    tier: str
    identity: str

    def __str__(self) -> str:
        return f"{ContentTag(self.tier, self.identity)}.tar"

    @classmethod
    def parse(cls, text: str) -> BundleName | None:
        """The bundle name in ``text``, or None for any other file."""
        tag = ContentTag.parse(text.removesuffix(".tar")) if text.endswith(".tar") else None
        return cls(tag.tier, tag.identity) if tag else None


class Reference(NamedTuple):
    """An image reference taken apart; ``host`` empty means the engine's own default registry."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"

    @property
    def repository(self) -> str:
        """``host/path`` without tag and digest."""
        return f"{self.host}/{self.path}" if self.host else self.path

    def at(self, digest: str) -> Reference:
        """The same name pinned to ``digest``; the tag stays, since engines need it for local-only images."""
        return self._replace(digest=digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Take ``[host[:port]/]path[:tag][@sha256:...]`` apart, or raise ``ConfigError``."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            hint = "expected [host[:port]/]name[:tag][@sha256:<64 hex>], lower case"
            raise ConfigError("bad-reference", f"{text!r} is not an image reference", hint=hint)
        return cls(match["host"] or "", match["path"], match["tag"] or "", match["digest"] or "")


class Place(NamedTuple):
    """A registry and namespace to publish in, from ``--registry``: ``host[:port][/namespace]``."""

    host: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}" if self.namespace else self.host

    def repository(self, name: str) -> Reference:
        """The repository of ``name`` (``rocm-ci/local``) in this place."""
        path = f"{self.namespace}/{name}" if self.namespace else name
        return Reference(self.host, path)

    def holds(self, other: Place) -> bool:
        """Whether ``other`` is this place, or lies in it."""
        inside = f"{other.namespace}/".startswith(f"{self.namespace}/") or not self.namespace
        return self.host == other.host and inside

    def within(self, name: str) -> Place:
        """The place called ``name`` in this one."""
        return Place(self.host, f"{self.namespace}/{name}" if self.namespace else name)

    @classmethod
    def parse(cls, text: str) -> Place:
        """Take a registry setting apart, or raise ``ConfigError``."""
        host, _, namespace = text.strip("/").partition("/")
        probe = _REFERENCE.fullmatch(f"{host}/{namespace or 'x'}")
        if probe is None or not probe["host"] or probe["tag"] or probe["digest"]:
            hint = "expected host[:port][/namespace], for example localhost:5000 or registry.example/team"
            raise ConfigError("bad-registry", f"{text!r} is not a registry", hint=hint)
        return cls(host, namespace)


_RELEASE = r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*"
_WHEEL_VERSION = re.compile(
    rf"(?P<release>{_RELEASE}(?:(?:a|b|rc)\d+)?(?:\.post\d+)?)(?:\.dev(?P<dev>\d+))?"
    rf"\+rocm\.(?P<rocm>{_RELEASE})"
    r"(?:\.torch\.(?P<torch>\d[a-z0-9]*(?:\.\d[a-z0-9]*)*))?"
    r"(?:\.(?P<source>trial|g[0-9a-f]{12}))?",
    re.ASCII,
)
_OLD_LABEL = re.compile(r"(?:.+\.)?(rocm[0-9]+)")
_LABEL_OF_STACK = re.compile(rf"rocm\.?(?P<rocm>{_RELEASE})(?:\.[a-z].*)?", re.ASCII)


class WheelVersion(NamedTuple):
    """A wheel's version: ``0.2.0+rocm.7.14.torch.2.9.1``, nightly ``0.2.0.dev57+rocm.7.14.g0123456789ab``.

    The label after ``+`` is dotted all through, since only then do its numbers compare as
    numbers.  ``source`` is ``g`` and twelve digits of a nightly's commit, or ``trial``.
    """

    release: str
    rocm: str
    dev: int | None = None
    torch: str = ""
    source: str = ""

    def __str__(self) -> str:
        dev = "" if self.dev is None else f".dev{self.dev}"
        torch = f".torch.{self.torch}" if self.torch else ""
        source = f".{self.source}" if self.source else ""
        return f"{self.release}{dev}+rocm.{self.rocm}{torch}{source}"

    @classmethod
    def parse(cls, text: str) -> WheelVersion | None:
        """The version in ``text``, or None for one that is not of this form (``1.0+rocm722`` is not)."""
        match = _WHEEL_VERSION.fullmatch(text)
        if match is None:
            return None
        dev = None if match["dev"] is None else int(match["dev"])
        made = cls(match["release"], match["rocm"], dev, match["torch"] or "", match["source"] or "")
        return made if str(made) == text else None


@cache
def variant(label: str) -> str:
    """The sub-index for the label after a version's ``+``; empty for labels that name no ROCm.

    ``rocm.7.2.1`` and ``rocm7.2.1`` give ``rocm7.2``, ``rocm.10.0`` gives ``rocm10``: major and
    minor, a zero minor left out.  An undotted ``rocm722`` cannot be told apart and stays as it is.
    """
    old = _OLD_LABEL.fullmatch(label)
    if old and len(old[1]) > len("rocm99"):
        return old[1]
    match = _LABEL_OF_STACK.fullmatch(label)
    if match is None:
        return old[1] if old else ""
    major, _, rest = match["rocm"].partition(".")
    minor = rest.partition(".")[0]
    return f"rocm{major}.{minor}" if minor not in {"", "0"} else f"rocm{major}"


class IndexPage(NamedTuple):
    """Where a page of a package index stands: ``simple/rocm7.2/rocm-probe/``; a part left empty is not in the path."""

    variant: str = ""
    project: str = ""

    def __str__(self) -> str:
        return "/".join(("simple", *filter(None, (self.variant, self.project)), ""))

    @property
    def up(self) -> str:
        """The relative way from this page to the folder that holds ``simple``."""
        return "../" * str(self).count("/")

    @classmethod
    def parse(cls, text: str) -> IndexPage | None:
        """The page at ``text``, or None; a variant holds ``rocm`` and digits, a project never a dot."""
        parts = text.rstrip("/").split("/")
        if parts[0] != "simple" or len(parts) > 3 or not all(parts):
            return None
        rest = parts[1:]
        first = rest.pop(0) if rest and re.fullmatch(r"rocm\d+(\.\d+)?", rest[0]) else ""
        return cls(first, *rest) if len(rest) < 2 else None


MAIN_IMAGE = "main"
"""The image of a release whose tags are the channel's own; every other has its name in front."""


class ReleaseTag(NamedTuple):
    """A tag of a channel whose word is ``nightly``.

    Moving: ``nightly``, ``base-nightly``; of one commit: ``base-nightly-<40 hex>``; of a version: ``base-v1.2.0``.
    Without a word the image's name is the tag: ``ci_base``, ``ci_base-<40 hex>``.
    """

    image: str
    word: str
    commit: str = ""
    version: str = ""

    def __str__(self) -> str:
        if not self.word:
            return f"{self.image}-{self.commit}" if self.commit else self.image
        front = "" if self.image == MAIN_IMAGE else f"{self.image}-"
        if self.version:
            return f"{front}v{self.version}"
        return f"{front}{self.word}-{self.commit}" if self.commit else f"{front}{self.word}"

    @property
    def moving(self) -> bool:
        """Whether it is a pointer."""
        return not self.commit and not self.version

    @classmethod
    def parse(cls, text: str, word: str) -> ReleaseTag | None:
        """The tag of the channel with ``word`` in ``text``, or None: ``nightly-rocm100-<commit>`` is not one."""
        if not word:
            match = _IMAGE_TAG.fullmatch(text)
            return cls(match["image"], "", match["commit"] or "") if match else None
        match = re.fullmatch(_RELEASE_TAG.format(word=re.escape(word)), text, re.ASCII)
        if match is None:
            return None
        return cls(match["image"] or MAIN_IMAGE, word, match["commit"] or "", match["version"] or "")


class JournalName(NamedTuple):
    """The path of a journal entry in a channel: ``journal/00000017-20261120T161500Z-0a1b2c3d.json``."""

    sequence: int
    run: str

    def __str__(self) -> str:
        return f"journal/{self.sequence:08d}-{self.run}.json"

    @classmethod
    def parse(cls, text: str) -> JournalName | None:
        """The entry's name in ``text``, or None."""
        match = _JOURNAL.fullmatch(text)
        return cls(int(match["sequence"]), match["run"]) if match else None


def wheel_path(sha256: str, filename: str) -> str:
    """Where a wheel lies in a set: its digest is in the path, so that no two writers can differ."""
    return f"{sha256}/{filename}"


def run_id(start: datetime, salt: str) -> str:
    """The name of a run: its UTC start (``20261120T161500Z``) and eight hex digits against a tie."""
    return f"{start:%Y%m%dT%H%M%SZ}-{salt}"


def run_start(run: str) -> datetime | None:
    """When a run began, UTC, by the clock of its host; None for what is no name of a run."""
    from datetime import UTC, datetime

    start, _, salt = run.partition("-")
    try:
        found = datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if run_id(found, salt) == run else None


SCOPE_LENGTH = 64
"""Characters a scope's name has at most: it is one part of a repository's path, which registries bound at 255."""


def scope_name(kind: str, shown: str, full: Sequence[str]) -> str:
    """The name of a scope, legal in a repository's path: ``pr-12-somebody-project-<32 hex>``.

    ``kind`` and ``shown`` are for people; the digest of ``full``, every part of it, keeps names apart.
    """
    digest = _digest_of(full)[:32]
    words = re.sub("[^a-z0-9]+", "-", f"{kind}-{shown}".lower(), flags=re.ASCII).strip("-")
    front = words[: SCOPE_LENGTH - len(digest) - 1].strip("-")
    return f"{front}-{digest}" if front else digest


_TAG_LENGTH = 128
_ENDS_IN_DIGEST = re.compile(r"-[0-9a-f]{32}\Z")


def cache_tag(tier: str, archs: Sequence[str], branch: str) -> str:
    """The tag of a branch's cache of one tier: ``test_3f1c9d21a0b4_main``; no two branches share one.

    ``archs`` are the arch lists it is built for, as ``NAME=value``.  A branch that a tag cannot hold as it is, or
    that ends as a shortened one does, is cut and gets a digest of its full name.  The scope is the repository.
    """
    front = f"{tier}_{_digest_of(sorted(archs))[:12]}_"
    room = _TAG_LENGTH - len(front)
    if len(branch) <= room and re.fullmatch(r"[A-Za-z0-9._-]+", branch) and not _ENDS_IN_DIGEST.search(branch):
        return front + branch
    words = re.sub("[^A-Za-z0-9._-]+", "-", branch)[: room - 33]
    return f"{front}{words}-{_digest_of((branch,))[:32]}"


def _digest_of(parts: Iterable[str]) -> str:
    """The SHA-256 of several texts, framed so that no two lists of them read alike."""
    import hashlib  # as everywhere: it loads OpenSSL, and most of what imports us hashes nothing

    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(framed.encode("utf-8", "surrogateescape")).hexdigest()


def build_tag(run: str, tier: str) -> str:
    """The tag an image carries while it is built and verified, before it has earned its content tag."""
    return f"building-{tier}-{run}".lower()


def container_name(run: str, step: str) -> str:
    """The container of one step of a run; ``step`` names its shard and try as well."""
    return f"rocm-ci-{run}-{step}".lower()
