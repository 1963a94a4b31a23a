"""What a release leaves in a registry and a bucket, looked at past every door: pointers, documents, all of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ci.publish import index
from ci.publish.manifest import MANIFEST, STANDING, Release, Standing
from ci.world.registry import MANIFEST_TYPES
from ci.world.store import PAGES, Store

CHANNEL = "nightly"
TAGS = {"main": "nightly", "base": "base-nightly"}


class Kept(NamedTuple):
    """A world to come back to: a copy of the registry's folder, and what the store holds."""

    registry: Path
    objects: Mapping[str, bytes]


@dataclass
class World:
    """``url`` is the released repository in the registry, ``data`` the folder it keeps everything in."""

    url: str
    data: Path
    store: Store

    def objects(self) -> dict[str, bytes]:
        """Everything in the store."""
        return {each.path: self.store.read(each.path) or b"" for each in self.store.below("")}

    def tags(self) -> dict[str, str]:
        """Every tag of the repository and its digest; none where there is no such repository."""
        try:
            with urllib.request.urlopen(f"{self.url}/tags/list") as answer:
                names = json.load(answer)["tags"] or []
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
            return {}
        return {name: digest for name in names if (digest := self._digest(name))}

    def _digest(self, tag: str) -> str:
        """A tag that was dropped is listed for a moment more."""
        url = f"{self.url}/manifests/{tag}"
        request = urllib.request.Request(url, headers={"Accept": ", ".join(MANIFEST_TYPES)}, method="HEAD")
        try:
            with urllib.request.urlopen(request) as answer:
                return str(answer.headers["Docker-Content-Digest"])
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
            return ""

    def release(self, commit: str) -> Release:
        """The release of a commit."""
        path = f"{CHANNEL}/{commit}/{MANIFEST}"
        return Release.decode(self.store.read(path) or b"", path)

    @property
    def standing(self) -> Standing | None:
        """What the channel stands at."""
        data = self.store.read(f"{CHANNEL}/{STANDING}")
        return Standing.decode(data, STANDING) if data else None

    def astray(self, *commits: str) -> list[str]:
        """The tags, and pages of the index, that show none of these releases; an empty commit is no release."""
        releases = [self.release(commit) if commit else None for commit in commits]
        tags, found = self.tags(), []
        for image, tag in TAGS.items():
            may = {row.digest for each in releases if each for row in each.images if row.name == image}
            fits = tags[tag] in may if tag in tags else None in releases
            found += [] if fits else [f"{tag} shows {tags.get(tag)}"]
        wanted = [index.of_channel((each,)) if each else {} for each in releases]
        place = self.store.within(CHANNEL)
        pages = {each.path.removeprefix(f"{PAGES}/"): place.read(each.path) for each in place.below(PAGES)}
        for path in sorted(pages.keys() | {path for each in wanted for path in each}):
            found += [] if pages.get(path) in [each.get(path) for each in wanted] else [f"page {path}"]
        return found

    def consistent(self) -> None:
        """Every pointer shows what the channel stands at, or, as long as a switch is not done, the release before."""
        stands = self.standing
        assert self.astray(*((stands.commit, stands.before) if stands else ("",))) == []

    def whole(self, commit: str) -> None:
        """The channel stands at ``commit``, empty: at nothing, and every pointer shows it."""
        stands = self.standing
        assert (stands.commit if stands else "") == commit
        assert self.astray(commit) == []

    def outcome(self) -> dict[str, Any]:
        """Everything that is there in the end, without what tells one run from another."""
        found: dict[str, Any] = {f"tag {tag}": digest for tag, digest in self.tags().items()}
        for path, data in self.objects().items():
            if path.startswith(f"{CHANNEL}/journal/") or path == f"{CHANNEL}/lease.json":
                continue
            found[path] = hashlib.sha256(data).hexdigest()
            if path == f"{CHANNEL}/{STANDING}":
                found[path] = {**json.loads(data), "run": "", "at": "", "sequence": 0}
        return found

    def keep(self, folder: Path) -> Kept:
        """Everything as it is."""
        shutil.copytree(self.data, folder)
        return Kept(folder, self.objects())

    def come_back(self, kept: Kept) -> None:
        """Let everything be as it was."""
        shutil.rmtree(self.data)
        shutil.copytree(kept.registry, self.data)
        for path in self.objects().keys() - kept.objects.keys():
            self.store.remove(path)
        for path, data in kept.objects.items():
            self.store.write(path, data)
