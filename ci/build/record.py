"""What this user built on this host: manifests, and which one was last for each tier.

``inv explain`` answers from here, offline.  Per user, because a manifest says what a
person's tree held, and because nobody else may write what a build trusts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError
from ..identity import Manifest
from ..world import files
from .roots import Made

VERSION = 1


class Records:
    """The records of one user below the state folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / f"user-{os.getuid()}"

    def save(self, stack: str, tier: str, manifest: Manifest, made: str = "") -> None:
        """Remember ``manifest`` as the last one of the tier; ``made`` is when its image says that it was made."""
        rows = {"version": VERSION, "made": made, "inputs": manifest.to_json()}
        files.write_json(self._manifest(manifest.identity), rows)
        files.write_json(self.folder / "last" / stack / f"{tier}.json", manifest.identity)

    def last(self, stack: str, tier: str) -> Manifest | None:
        """The last manifest of the tier on this host, or None."""
        identity = self.last_identity(stack, tier)
        return self.manifest(identity) if identity else None

    def last_identity(self, stack: str, tier: str) -> str:
        """The identity of that manifest; empty where there is none."""
        identity = files.read_json(self.folder / "last" / stack / f"{tier}.json")
        return identity if isinstance(identity, str) else ""

    def made(self, identity: str) -> str:
        """When the image of an identity was made that was built here last; empty where that is not known."""
        data = files.read_json(self._manifest(identity)) or {}
        return str(data.get("made", ""))

    def manifest(self, identity: str) -> Manifest | None:
        """The manifest of an identity, or of the only one that begins with these digits; None for other text."""
        if not re.fullmatch("[0-9a-f]+", identity):
            return None
        found = sorted((self.folder / "manifests").glob(f"{identity}*.json"))
        if len(found) != 1:
            return None
        data = files.read_json(found[0])
        if data is None:
            return None
        if data["version"] > VERSION:
            raise ConfigError("newer-record", f"{found[0]} was written by a newer version", hint="upgrade rocm-ci")
        return Manifest.from_json(data["inputs"])

    def save_roots(self, stack: str, made: Mapping[str, Made]) -> None:
        """Remember the roots a build began from, so that ``explain`` needs no engine."""
        files.write_json(self.folder / "roots" / f"{stack}.json", {name: asdict(root) for name, root in made.items()})

    def roots(self, stack: str) -> Mapping[str, Made]:
        """The roots as the last build on this host saw them."""
        data = files.read_json(self.folder / "roots" / f"{stack}.json") or {}
        return {name: Made(**root) for name, root in data.items()}

    def hashes(self, root: Path) -> dict[str, str]:
        """The hash cache of one tree (git blob id → SHA-256). Losing it costs time, never correctness."""
        known = files.read_json(self._hashes(root))
        return known if isinstance(known, dict) else {}

    def save_hashes(self, root: Path, cache: Mapping[str, str]) -> None:
        """Keep the hash cache of one tree."""
        files.write_whole(self._hashes(root), json.dumps(dict(cache), separators=(",", ":")).encode())

    def _hashes(self, root: Path) -> Path:
        name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        return self.folder / "hashes" / f"{name}.json"

    def _manifest(self, identity: str) -> Path:
        return self.folder / "manifests" / f"{identity}.json"
