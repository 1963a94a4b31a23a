"""Images handed on from job to job by digest: through a file, Buildkite's meta-data or GitHub's outputs.

The job that made an image says which, and the job that runs it runs that one, whatever a tag says by then.
Nothing is guessed: what was not handed on, or is not of this stack and commit, is an error.  Whether an image is of
this job's arguments and files too is for ``build.handed`` to say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError
from ..names import Reference
from ..settings import HANDED, Settings
from ..world import ci_agent, files
from ..world.locks import exclusive
from ..world.process import Run, run
from . import outputs

BUILDKITE, GITHUB = "buildkite", "github"
VERSION = 2
"""1 could not be compared: it did not say what the builder's host had found."""

_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXTS: Mapping[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_IMAGE: Mapping[str, Any] = {
    "reference": {"type": "string", "minLength": 1},
    "identity": _TEXT,
    "tag": _TEXT,
    "found": _TEXTS,
    "args": _TEXTS,
}
_HEAD: Mapping[str, Any] = {"schema": {"const": VERSION}, "stack": _TEXT, "commit": _TEXT}


def _object(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


_ONE = _object(**_HEAD, tier=_TEXT, **_IMAGE)
_FILE = _object(**_HEAD, images={"type": "object", "additionalProperties": _object(**_IMAGE)})


class Origin(NamedTuple):
    """What images are made of: a stack by name, and the commit of what is built, empty where a tree is dirty."""

    stack: str
    commit: str


class Image(NamedTuple):
    """An image by digest, ``reference`` as an engine takes it.

    ``found`` is what its builder's host found for itself, ``args`` the build arguments as it had them
    (``build.handed``): with them whoever takes the image computes its identity anew.
    """

    reference: str
    identity: str
    tag: str
    found: Mapping[str, str]
    args: Mapping[str, str]

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 digits."""
        return Reference.parse(self.reference).digest


Images = Mapping[str, Image]
"""By tier."""


def place(text: str) -> str:
    """``text`` if it is a place for a hand-off; a mistyped CI must not become a file."""
    if text in {BUILDKITE, GITHUB} or text.endswith(".json"):
        return text
    hint = f"{documents.suggest(text, (BUILDKITE, GITHUB))}; the name of a file ends in .json"
    raise ConfigError("unknown-place", f"--handoff cannot be {text!r}", hint=hint)


@dataclass(frozen=True)
class Handing:
    """A place that jobs hand images on through, seen by a run of ``origin``; ``state`` has the locks of this host."""

    settings: Settings
    where: str
    origin: Origin
    state: Path
    start: Run = run

    # --- handing on -------------------------------------------------------------------------

    def give(self, images: Images) -> None:
        """Tell the jobs that come after which images these are.

        Raises ``ConfigError`` where another image, stack or commit was told for a tier before, or where there is
        nobody to tell; ``InfraError`` where it cannot be told.
        """
        if self.where == BUILDKITE:
            for tier, image in images.items():
                self._set(tier, image)
        elif self.where == GITHUB:
            self._put_out(images)
        else:
            self._add(Path(self.where), images)

    def _row(self, tier: str, image: Image) -> str:
        return json.dumps({"schema": VERSION, **self.origin._asdict(), "tier": tier, **image._asdict()})

    def _put_out(self, images: Images) -> None:
        if not (self.settings.host("GITHUB_ACTIONS") and self.settings.host("GITHUB_OUTPUT")):
            hint = "--handoff github is for GitHub Actions' jobs"
            raise ConfigError("no-github", "GITHUB_OUTPUT is not set", hint=hint)
        for tier, image in images.items():
            outputs.give(self.settings, f"image-{tier}", self._row(tier, image))

    def _set(self, tier: str, image: Image) -> None:
        key = _key(tier)
        known = ci_agent.meta_data(key, self.start)
        if known is None:
            ci_agent.set_meta_data(key, self._row(tier, image), self.start)
        else:
            _unmoved(tier, self._one(known, tier, f"meta-data {key}"), image, f"meta-data {key}")

    def _add(self, path: Path, images: Images) -> None:
        """Several jobs add to one file: those of one host one after the other."""
        lock = f"handoff-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
        with exclusive(self.state, lock, _unheard):
            known = dict(self._of_file(path)) if files.mark(path) else {}
            for tier, image in images.items():
                if tier in known:
                    _unmoved(tier, known[tier], image, str(path))
                known.setdefault(tier, image)
            rows = {tier: image._asdict() for tier, image in known.items()}
            files.write_json(path, {"schema": VERSION, **self.origin._asdict(), "images": rows})

    # --- taking -----------------------------------------------------------------------------

    def take(self, tiers: Sequence[str]) -> Images:
        """The images of ``tiers`` that were handed on; ``ConfigError`` where one was not, or is not of our origin.

        Raises ``InfraError`` where the agent cannot tell.
        """
        if self.where in {BUILDKITE, GITHUB}:
            return {tier: self._told(tier) for tier in tiers}
        known = self._of_file(Path(self.where))
        return {tier: known[tier] if tier in known else _missing(tier, self.where) for tier in tiers}

    def _told(self, tier: str) -> Image:
        if self.where == BUILDKITE:
            name, row = f"meta-data {_key(tier)}", ci_agent.meta_data(_key(tier), self.start)
        else:
            variable = HANDED + tier.upper().replace("-", "_")
            name, row = f"variable {variable}", self.settings.host(variable)
        return self._one(row, tier, name) if row else _missing(tier, name)

    # --- reading ----------------------------------------------------------------------------

    def _one(self, text: str, tier: str, where: str) -> Image:
        data = _checked(text, where, _ONE)
        if data["tier"] != tier:
            raise ConfigError("wrong-handoff", f"{where} is of tier {data['tier']}, not of {tier}")
        self._expect(data, where)
        return _image(data, where)

    def _of_file(self, path: Path) -> Images:
        data = _checked(files.read_text(path), str(path), _FILE)
        self._expect(data, str(path))
        return {tier: _image(row, str(path)) for tier, row in data["images"].items()}

    def _expect(self, data: Mapping[str, Any], where: str) -> None:
        """What was made of something else is no image of this run, however recent it is."""
        for what, ours in self.origin._asdict().items():
            if data[what] and ours and data[what] != ours:
                message = f"{where} is of {what} {data[what]}, and this is {what} {ours}"
                hint = "hand on and take in one build; for another one begin with another place"
                raise ConfigError("other-origin", message, hint=hint)


def _key(tier: str) -> str:
    return f"rocm-ci:{tier}"


def _unheard(_text: str) -> None:
    """The wait is a moment's."""


def _unmoved(tier: str, before: Image, now: Image, where: str) -> None:
    """One digest has several names: this host's, a registry's. The first that was told stays."""
    if (before.digest, before.identity) != (now.digest, now.identity):
        message = f"{tier}: {where} has {before.reference}, and this job has {now.reference}"
        hint = "two jobs made this tier; let one make it, and for another build begin with another place"
        raise ConfigError("handed-twice", message, hint=hint)


def _missing(tier: str, where: str) -> Image:
    hint = "the job that makes it has to come first, with the same --handoff; inv pipeline wires them so"
    raise ConfigError("not-handed-on", f"nobody handed on an image of {tier}: {where} has none", hint=hint)


def _checked(text: str, where: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document, of the version we know and with nothing else in it."""
    document = documents.read(text, where)
    documents.refuse((*document.problems, *documents.check(document, schema)))
    data: Mapping[str, Any] = document.value
    return data


def _image(data: Mapping[str, Any], where: str) -> Image:
    image = Image(**{name: data[name] for name in Image._fields})
    with suppress(ConfigError):  # what is no reference at all; the error below says where it stands
        if image.digest:
            return image
    hint = "let inv build-... write it: --handoff"
    raise ConfigError("no-digest", f"{where} names {image.reference}, which is no image by digest", hint=hint)
