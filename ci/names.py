"""Every name that outlives a run: format and parse, side by side, round-trip tested."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

TAG_VERSION = "v1"
"""Changes when the meaning of an identity changes; an old tag then can never be taken for a new one."""

_HEX64 = r"[0-9a-f]{64}"
_CONTENT_TAG = re.compile(rf"(?P<tier>[a-z0-9][a-z0-9-]*?)-{TAG_VERSION}-(?P<identity>{_HEX64})")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>localhost(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?|{_LABEL}(?:\.{_LABEL})+(?::\d+)?|{_LABEL}:\d+)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    rf"(?:@(?P<digest>sha256:{_HEX64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ContentTag:
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


@dataclass(frozen=True, slots=True)
class Reference:
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
        return replace(self, digest=digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Take ``[host[:port]/]path[:tag][@sha256:...]`` apart, or raise ``ConfigError``."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            hint = "expected [host[:port]/]name[:tag][@sha256:<64 hex>], lower case"
            raise ConfigError("bad-reference", f"{text!r} is not an image reference", hint=hint)
        return cls(match["host"] or "", match["path"], match["tag"] or "", match["digest"] or "")


@dataclass(frozen=True, slots=True)
class Place:
    """A registry and namespace to publish in, from ``--registry``: ``host[:port][/namespace]``."""

    host: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}" if self.namespace else self.host

    def repository(self, name: str) -> Reference:
        """The repository of ``name`` (``rocm-ci/local``) in this place."""
        path = f"{self.namespace}/{name}" if self.namespace else name
        return Reference(self.host, path)

    @classmethod
    def parse(cls, text: str) -> Place:
        """Take a registry setting apart, or raise ``ConfigError``."""
        host, _, namespace = text.strip("/").partition("/")
        probe = _REFERENCE.fullmatch(f"{host}/{namespace or 'x'}")
        if probe is None or not probe["host"] or probe["tag"] or probe["digest"]:
            hint = "expected host[:port][/namespace], for example localhost:5000 or registry.example/team"
            raise ConfigError("bad-registry", f"{text!r} is not a registry", hint=hint)
        return cls(host, namespace)


def run_id(start: datetime, salt: str) -> str:
    """The name of a run: its UTC start (``20261120T161500Z``) and eight hex digits against a tie."""
    return f"{start:%Y%m%dT%H%M%SZ}-{salt}"


def build_tag(run: str, tier: str) -> str:
    """The tag an image carries while it is built and verified, before it has earned its content tag."""
    return f"building-{tier}-{run}".lower()
