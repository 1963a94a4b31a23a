"""What somebody asked of ``test``: options read and checked, before anything is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from .images import NO_BUNDLE, Bundle
from .plan import Wish


@dataclass(frozen=True, slots=True)
class Request:
    """The options of one call. ``shard`` is (number from 1, of how many); ``jobs`` 0 is auto.

    ``images`` maps tiers to references by digest that are run whatever the trees say: those of ``handoff``, which
    is read when it is known which tiers are needed, or a release's.  ``sources`` are NAME=PATH as typed.
    """

    suite: str
    wish: Wish
    shard: tuple[int, int] = (1, 1)
    jobs: int = 1
    runtime: str = "docker"
    image: str = ""
    durations: str = ""
    bundle: Bundle = NO_BUNDLE
    images: Mapping[str, str] = field(default_factory=dict)
    handoff: str = ""
    sources: tuple[str, ...] = ()
    catalogue: str = ""


def read(suite: str, values: Mapping[str, Any], runtime: str) -> Request:
    """The request that ``values`` (as typed) make; raises ``ConfigError`` for the first that cannot be meant."""
    image = str(values.get("image") or "")
    if image and runtime == "native":
        hint = "under --runtime native everything runs in the container we are in"
        raise ConfigError("unused-option", "--image means nothing under --runtime native", hint=hint)
    jobs, shard = _jobs(str(values.get("jobs") or "1")), _shard(str(values.get("shard") or "1/1"))
    if jobs != 1 and shard != (1, 1):
        hint = "--jobs makes the shards itself; --shard is for runs on several nodes"
        raise ConfigError("unused-option", "--shard and --jobs cannot be given together", hint=hint)
    if jobs != 1 and runtime == "native":
        hint = "steps that share one container would share its ports and its memory; leave --jobs out"
        raise ConfigError("unused-option", "--jobs means nothing under --runtime native", hint=hint)
    only = tuple(values.get("only") or ())
    wish = Wish(only, bool(values.get("require-gpu")), _minutes(str(values.get("deadline") or "")))
    bundle = Bundle(str(values.get("artifact") or ""), bool(values.get("allow-fallback")))
    if bundle.where and (image or runtime == "native"):
        hint = "an image is either given, or made of ci-base and a bundle"
        raise ConfigError("unused-option", "--artifact means nothing with --image or --runtime native", hint=hint)
    if bundle.fallback and not bundle.where:
        raise ConfigError("fallback-without-artifact", "--allow-fallback belongs to --artifact", hint="leave it out")
    handoff = str(values.get("handoff") or "")
    if handoff and (image or bundle.where or runtime == "native"):
        hint = "an image is either handed on, or given, or made of ci-base and a bundle"
        raise ConfigError("unused-option", "--handoff means nothing with --image, --artifact or native", hint=hint)
    durations, sources = str(values.get("durations") or ""), tuple(values.get("source") or ())
    given = Request(suite, wish, shard, jobs, runtime, image, durations, bundle, handoff=handoff, sources=sources)
    return replace(given, catalogue=str(values.get("catalogue") or ""))


def _jobs(text: str) -> int:
    if text == "auto":
        return 0
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII):
        raise ConfigError("wrong-value", f"--jobs cannot be {text!r}", hint="give a number from 1 on, or auto")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text, re.ASCII)
    if match is None or int(match[1]) > int(match[2]):
        hint = "give NUMBER/COUNT, counted from 1: --shard 2/4"
        raise ConfigError("wrong-value", f"--shard cannot be {text!r}", hint=hint)
    return int(match[1]), int(match[2])


def _minutes(text: str) -> float:
    if not text:
        return 0.0
    if not re.fullmatch(r"\d{1,5}(\.\d+)?", text, re.ASCII) or float(text) == 0:
        raise ConfigError("wrong-value", f"--deadline cannot be {text!r}", hint="give minutes: --deadline 90")
    return 60 * float(text)
