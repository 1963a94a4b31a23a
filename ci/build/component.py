"""One component alone: its stage as the only tier of a stack, on whatever HIP toolchain image is given."""

from __future__ import annotations

from dataclasses import replace

from ..documents import suggest
from ..errors import ConfigError
from ..recipe.stack import Root, Stack, Tier
from ..world.engine import Engine

BASE = "base-image"
"""The name of the image it stands on, among the roots."""


def alone(stack: Stack, engine: Engine, *, name: str, image: str) -> Stack:
    """The stack in which the component ``name`` is the one tier, its parent ``image`` (by digest, or in the engine).

    Raises ``ConfigError`` for an unknown component or an image that is not here.
    """
    if name not in stack.components:
        known = suggest(name, list(stack.components)) if stack.components else f"{stack.file} declares none"
        raise ConfigError("unknown-component", f"stack {stack.name} has no component {name!r}", hint=known)
    component = stack.components[name]
    parents = ((component.base, BASE),)
    tier = Tier(name, component.dockerfile, component.target, parents, (), component.fetch, component.place)
    return replace(stack, tiers={name: tier}, roots={BASE: _root(image, engine)}, toolchain="")


def _root(image: str, engine: Engine) -> Root:
    reference, _, digest = image.partition("@")
    if not digest:
        if not image:
            hint = "give --base-image IMAGE: any image with hipcc, for example the toolchain of the default stack"
            raise ConfigError("no-base-image", "a component needs an image to be built on", hint=hint)
        found = engine.image(image)
        if found is None:
            hint = "docker pull it, or give it by digest: NAME:TAG@sha256:..."
            raise ConfigError("no-base-image", f"the engine has no image {image}", hint=hint)
        digest = found.id
    return Root(BASE, reference, "", digest)
