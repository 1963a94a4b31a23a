"""What the options of a build verb ask for: an image, a bundle instead of it, or an image made from a bundle."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ConfigError
from ..settings import Settings

OUT = "dist"


class Options(NamedTuple):
    """The options as they were typed; empty or False where not given."""

    only: bool = False
    out: str = ""
    artifact: str = ""
    fallback: bool = False
    push: bool = False


class Mode(NamedTuple):
    """What to do. ``out`` is where a bundle goes, ``place`` where one comes from; both empty: build as ever."""

    out: str = ""
    place: str = ""
    fallback: bool = False


def read(settings: Settings, options: Options) -> Mode:
    """The mode; ``ConfigError`` for options that contradict each other.

    A pipeline may set the variable for all its jobs: one that names a bundle uses it all the same.
    """
    only = options.only or (settings.get("ROCM_CI_ARTIFACT_ONLY").value == "1" and not options.artifact)
    if options.only and options.artifact:
        hint = "give --artifact-only where the bundle is made, --artifact where it is used"
        raise ConfigError("two-modes", "--artifact-only and --artifact do not go together", hint=hint)
    if options.push and (only or options.artifact):
        hint = "what is made in artifact-only mode is no image for a registry: leave --push out, or build the image"
        raise ConfigError("push-of-artifact", "--push does not go with artifact-only mode", hint=hint)
    if options.out and not only:
        raise ConfigError("out-without-artifact", "--out says where --artifact-only puts the bundle", hint="add it")
    if options.fallback and not options.artifact:
        raise ConfigError("fallback-without-artifact", "--allow-fallback belongs to --artifact", hint="leave it out")
    return Mode(out=(options.out or OUT) if only else "", place=options.artifact, fallback=options.fallback)
