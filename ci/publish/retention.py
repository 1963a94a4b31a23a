"""What retention takes from a channel and what it leaves, each with its reason.

Pure: from facts to fates.  A registry does not know when something was pushed, so age comes from the
journal; what nobody can tell the age of stays.  A digest goes only when nothing that stays leads to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

from ..names import ArtifactTag, ContentTag, ReleaseTag
from .channel import Channel
from .journal import Entry, came_true
from .manifest import ImageRow, Release, Standing
from .reach import Repository, subject

RETAIN = "retain"
"""The kind of a journal entry that says what retention is about to remove."""

UNKNOWN_AGE = "nobody can tell its age"


class Kind(StrEnum):
    """What there is to keep or to remove, in the order it is removed."""

    RELEASE = "release"
    TAG = "tag"
    CACHE_TAG = "cache tag"
    MANIFEST = "manifest"
    WHEELS = "wheel set"


class Fate(NamedTuple):
    """What becomes of one thing: ``name`` is a commit, a tag, a digest or a key, ``digest`` what it holds now."""

    kind: Kind
    name: str
    digest: str
    goes: bool
    why: str


@dataclass(frozen=True)
class Shelf:
    """What the store has of one channel: whole releases by commit, ``partial`` sets without manifest, the journal."""

    channel: Channel
    standing: Standing | None
    releases: Mapping[str, Release]
    partial: frozenset[str]
    entries: tuple[Entry, ...]

    @cached_property
    def leftover(self) -> frozenset[tuple[str, str]]:
        """What the last retention wrote down, by name and digest: it may have been killed before it was done.

        A retention first takes up what the one before left, so those since the last switch are enough.
        """
        rounds = [entry for entry in self.entries if entry.kind == RETAIN]
        last = max((entry.sequence for entry in rounds), default=0)
        return frozenset((row.what, row.digest) for entry in rounds if entry.sequence == last for row in entry.removed)


@dataclass(frozen=True)
class Facts:
    """Everything a plan is made from.

    ``others`` are the other channels of the file; ``images`` the names of released images;
    ``repository`` and ``caches`` are None where the channel has no registry; ``sets`` maps the key of a cached
    set of wheels to whether it is whole.
    """

    now: datetime
    shelf: Shelf
    others: tuple[Shelf, ...]
    images: Collection[str]
    repository: Repository | None
    caches: Repository | None
    sets: Mapping[str, bool]

    def what(self, kind: Kind, name: str) -> str:
        """The name of a thing in the journal, which tells it from all others."""
        if kind is Kind.RELEASE:
            return f"release:{self.shelf.channel.name}/{name}"
        if kind is Kind.WHEELS:
            return f"wheels:{name}"
        where = self.caches if kind is Kind.CACHE_TAG else self.repository
        return f"image:{where.name if where else ''}{'@' if kind is Kind.MANIFEST else ':'}{name}"

    def begun(self, kind: Kind, name: str, digest: str | None = None) -> bool:
        """Whether a retention before this one wrote a thing down, with this digest where one is given."""
        what = self.what(kind, name)
        return any(each == what and digest in {None, held} for each, held in self.shelf.leftover)


class _Verdict(NamedTuple):
    goes: bool
    why: str


def plan(facts: Facts) -> tuple[Fate, ...]:
    """The fate of every release, tag, manifest, cache tag and cached set, those of one kind by name."""
    return _Judgement(facts).fates()


class _Judgement:
    """The releases judged, and what follows from that."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.shelf = facts.shelf
        self.commits = dict(_commits(facts))
        self.stay = [each for commit, each in self.shelf.releases.items() if not self.commits[commit].goes]
        self.go = [each for commit, each in self.shelf.releases.items() if self.commits[commit].goes]
        self.elsewhere = [release for other in facts.others for release in other.releases.values()]
        self.old = _old_digests(self.shelf, self.commits) | {digest for _, digest in facts.shelf.leftover}

    def fates(self) -> tuple[Fate, ...]:
        """All of them."""
        found = [*self._releases(), *self._wheels()]
        if self.facts.repository:
            found += self._images(self.facts.repository)
        if self.facts.caches:
            found += self._caches(self.facts.caches)
        return tuple(sorted(found, key=lambda fate: (list(Kind).index(fate.kind), fate.name)))

    # --- the store

    def _releases(self) -> Iterator[Fate]:
        for commit in (*self.shelf.releases, *self.shelf.partial):
            digest = self.shelf.releases[commit].digest if commit in self.shelf.releases else ""
            yield Fate(Kind.RELEASE, commit, digest, *self.commits[commit])

    def _wheels(self) -> Iterator[Fate]:
        used = {row.part for release in (*self.stay, *self.elsewhere) for row in release.wheels}
        old = {row.part for release in self.go for row in release.wheels}
        for key, whole in self.facts.sets.items():
            begun = self.facts.begun(Kind.WHEELS, key, "")
            if key in used:
                verdict = _Verdict(False, "a release that stays was made of it")
            elif begun or (key in old and whole):
                verdict = _Verdict(True, "only releases that go were made of it")
            else:
                verdict = _Verdict(False, UNKNOWN_AGE if whole else "not whole: somebody may be writing it")
            yield Fate(Kind.WHEELS, key, "", *verdict)

    # --- the registry

    def _caches(self, caches: Repository) -> Iterator[Fate]:
        """The cache of an image goes when the image does; that of a branch stays, for nobody tells how old it is."""
        used = {_content(row) for release in (*self.stay, *self.elsewhere) for row in release.images}
        old = {_content(row) for release in self.go for row in release.images}
        for tag, digest in caches.tags.items():
            if tag in used:
                verdict = _Verdict(False, "a release that stays has the image it is of")
            elif tag in old or self.facts.begun(Kind.CACHE_TAG, tag, digest):
                verdict = _Verdict(True, "only releases that go have the image it is of")
            else:
                verdict = _Verdict(False, UNKNOWN_AGE)
            yield Fate(Kind.CACHE_TAG, tag, digest, *verdict)

    def _images(self, repository: Repository) -> Iterator[Fate]:
        judged = {tag: self._tag(repository, tag, digest) for tag, digest in repository.tags.items()}
        roots = dict.fromkeys(self._held(), "a release that stays has it")
        for tag, verdict in judged.items():
            if verdict and not verdict.goes:
                roots.setdefault(repository.tags[tag], f"{tag} stays")
        going = {repository.tags[tag]: verdict.why for tag, verdict in judged.items() if verdict and verdict.goes}
        going |= {digest: "only releases that go had it" for digest in self.old if digest in repository.children}
        leaving = repository.made_of(going)
        reached = repository.kept_by(roots)
        strange = {  # about something that is neither kept nor removed
            digest: f"{tag} stays"
            for tag, digest in repository.tags.items()
            if subject(tag) and subject(tag) not in reached and subject(tag) not in leaving
        }
        reached = repository.kept_by({**strange, **roots})
        for tag, verdict in judged.items():
            digest = repository.tags[tag]
            yield Fate(Kind.TAG, tag, digest, *(verdict or _followed(tag, digest, reached, leaving)))
        for digest, why in leaving.items() if repository.deletes else ():
            if digest in repository.children:
                stays = f"reached: {reached[digest]}" if digest in reached else ""
                yield Fate(Kind.MANIFEST, digest, digest, not stays, stays or why)

    def _held(self) -> Iterator[str]:
        """Digests that stay whatever their tags: of releases that stay, and what a switch may have to put back."""
        for release in (*self.stay, *self.elsewhere):
            yield from (row.digest for row in release.images)
        for shelf in (self.shelf, *self.facts.others):
            for entry in shelf.entries:
                if shelf.standing is None or entry.sequence >= shelf.standing.sequence:
                    yield from (value for move in entry.moves for value in (move.old, move.new) if value)

    def _tag(self, repository: Repository, tag: str, digest: str) -> _Verdict | None:
        """What is to be said of a tag alone; None where that depends on whether something leads to its digest."""
        why = self._needed(tag)
        if why or subject(tag):
            return _Verdict(False, why) if why else None
        if (commit := self._commit(tag)) is not None:
            return self._staying_tag(repository, tag, digest, commit)
        if (content := ContentTag.parse(tag)) or ArtifactTag.parse(tag):
            return self._content(repository, tag, digest, content)
        return _Verdict(False, f"not a tag of {self.shelf.channel.name}")

    def _needed(self, tag: str) -> str:
        """Why a tag stays by its very name; empty where it does not."""
        channel = self.shelf.channel
        if tag in {str(channel.moving(image)) for image in self.facts.images}:
            return f"a pointer of {channel.name}"
        if pattern := _protected(channel, tag):
            return f"protected by {pattern}"
        owners = (each.channel for each in self.facts.others if tag in _staying(each.channel, each.releases.values()))
        return next((f"a release of {owner.name} has it" for owner in owners), "")

    def _commit(self, tag: str) -> str | None:
        """The commit whose release a tag is for, empty where nobody knows; None for a tag that is for none of ours."""
        channel = self.shelf.channel
        known = _staying(channel, self.shelf.releases.values())
        if tag in known:
            return known[tag].commit
        parsed = ReleaseTag.parse(tag, channel.word)
        if parsed is None or str(parsed) != tag or parsed.image not in self.facts.images:
            return None
        return parsed.commit if (parsed.commit if channel.fixed == "commit" else parsed.version) else None

    def _staying_tag(self, repository: Repository, tag: str, digest: str, commit: str) -> _Verdict:
        verdict = self.commits.get(commit, _Verdict(False, UNKNOWN_AGE))
        begun = self.facts.begun(Kind.TAG, tag, digest) or self._buried(repository, tag, digest)
        if not commit and begun:  # a version whose release is gone already
            return _Verdict(True, "the release it was for is gone")
        if verdict.goes and not begun and digest not in self.old:
            return _Verdict(False, "moved: it is not what was released under it")
        return verdict

    def _content(self, repository: Repository, tag: str, digest: str, content: ContentTag | None) -> _Verdict | None:
        named = {ContentTag(row.tier, row.identity) for each in (*self.stay, *self.elsewhere) for row in each.images}
        if content in named:
            return _Verdict(False, "a release that stays is made of it")
        if self._buried(repository, tag, digest):
            return _Verdict(True, "its removal had begun")
        return None if digest in self.old else _Verdict(False, UNKNOWN_AGE)

    def _buried(self, repository: Repository, tag: str, digest: str) -> bool:
        """Whether a retention was killed between the two steps by which it drops this tag."""
        return digest in repository.tombstones and self.facts.begun(Kind.TAG, tag)


def _followed(tag: str, digest: str, reached: Mapping[str, str], leaving: Mapping[str, str]) -> _Verdict:
    """The verdict of a tag that stays if something that stays leads to what it is about, or names."""
    about = subject(tag) or digest
    if about in reached:
        return _Verdict(False, f"reached: {reached[about]}")
    return _Verdict(True, leaving[about]) if about in leaving else _Verdict(False, UNKNOWN_AGE)


def _staying(channel: Channel, releases: Iterable[Release]) -> dict[str, Release]:
    """The tags of these releases that never move."""
    return {
        str(channel.staying(row.name, release.commit, release.public_version)): release
        for release in releases
        for row in release.images
    }


def _protected(channel: Channel, tag: str) -> str:
    return next((pattern for pattern in channel.retain.protect if fnmatchcase(tag, pattern)), "")


def _old_digests(shelf: Shelf, commits: Mapping[str, _Verdict]) -> set[str]:
    """The digests of images whose releases go, whether or not their manifests are still there."""
    found = {row.digest for commit, release in shelf.releases.items() if commits[commit].goes for row in release.images}
    for entry in shelf.entries:
        if entry.kind != RETAIN:
            found |= {move.new for move in entry.moves if move.new and move.commit and commits[move.commit].goes}
    return found


# --- releases


def _commits(facts: Facts) -> Iterator[tuple[str, _Verdict]]:
    """Every commit that the store or the journal knows, judged."""
    shelf = facts.shelf
    last = _last(shelf)
    known = {*shelf.releases, *shelf.partial, *last}
    known |= {move.commit for entry in shelf.entries for move in entry.moves} - {""}
    withdrawn = shelf.standing.withdrawn if shelf.standing else ()
    stood = (
        {entry.commit: entry.sequence for entry in came_true(shelf.entries, shelf.standing)} if shelf.standing else {}
    )
    good = [commit for commit in shelf.releases if commit in stood and commit not in withdrawn]
    newest = sorted(good, key=lambda commit: stood[commit], reverse=True)[: shelf.channel.retain.keep]
    for commit in sorted(known):
        why = _held_by(facts, commit) or _protected_release(facts, commit)
        if not why and commit in newest:
            why = f"one of the newest {shelf.channel.retain.keep}"
        yield commit, _Verdict(False, why) if why else _aged(facts, last.get(commit))


def _last(shelf: Shelf) -> dict[str, Entry]:
    """The last entry about each commit, by sequence: two hosts' clocks need not agree."""
    found: dict[str, Entry] = {}
    for entry in sorted(shelf.entries, key=lambda entry: entry.sequence):
        if entry.kind != RETAIN and entry.commit:
            found[entry.commit] = entry
    return found


def _held_by(facts: Facts, commit: str) -> str:
    """Who needs a release now; empty where nobody does."""
    shelf, standing = facts.shelf, facts.shelf.standing
    if standing is None:
        return "nothing was ever released here"
    after = (each.commit for each in shelf.entries if each.kind != RETAIN and each.sequence > standing.sequence)
    staging = [other.channel.name for other in facts.others if commit in other.partial]
    reasons = {
        "the channel stands at it": commit == standing.commit,
        "the release before it, for a rollback": commit == standing.before,
        "the index lists it": commit in standing.listed,
        "not whole: somebody may be staging it": commit in shelf.partial and not facts.begun(Kind.RELEASE, commit),
        "a switch to it is under way, or was cut off": commit in after,
        f"it is being staged for {', '.join(staging)}": bool(staging),
    }
    return next((why for why, holds in reasons.items() if holds), "")


def _protected_release(facts: Facts, commit: str) -> str:
    """The pattern that protects a tag of the release; what such a tag is for stays whole."""
    channel, release = facts.shelf.channel, facts.shelf.releases.get(commit)
    tags = list(_staying(channel, [release])) if release else []
    if channel.fixed == "commit":
        tags += [str(channel.staying(image, commit, "")) for image in facts.images]
    return next((f"protected by {pattern}" for tag in tags if (pattern := _protected(channel, tag))), "")


def _aged(facts: Facts, last: Entry | None) -> _Verdict:
    days = facts.shelf.channel.retain.days
    if last is None:
        return _Verdict(False, UNKNOWN_AGE)
    since = time_of(last.at)
    if since is None:
        return _Verdict(False, UNKNOWN_AGE)
    if facts.now - since < timedelta(days=days):
        return _Verdict(False, f"younger than {days} days")
    return _Verdict(True, f"released {since:%Y-%m-%d}, {days} days ago or more, and not among the newest")


def time_of(text: str) -> datetime | None:
    """The time a document of the channel gives, in UTC; None where it gives none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _content(row: ImageRow) -> str:
    """What the cache of a released image is called."""
    return str(ContentTag(row.tier, row.identity))
