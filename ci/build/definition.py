"""The one generated bake definition of a build: literal values, nothing read from the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .inputs import RECIPE, Inputs

LABEL = "org.rocm-ci."
"""Prefix of the labels that let an image say what it is."""


def define(
    inputs: Inputs,
    *,
    platform: str,
    name: str,
    labels: Mapping[str, str],
    parents: Mapping[str, str],
    secrets: Iterable[str],
    cache: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    """The bake file of one tier; paths are relative to the folder it is saved in.

    ``name`` is the image it exports to the engine, ``parents`` maps parent arguments to pinned
    references, ``secrets`` are ids of files below ``secrets/``, ``cache`` has ``from`` and ``to``.
    """
    target = {
        "context": f"context/{RECIPE}",
        "dockerfile": "../../Dockerfile",
        "target": inputs.tier.target,
        "platforms": [platform],
        "args": {**dict(inputs.args), **parents},
        "labels": dict(labels),
        "contexts": {context: f"context/{context}" for context in inputs.selected if context != RECIPE},
        "secret": [f"type=file,id={identifier},src=secrets/{identifier}" for identifier in secrets],
        "cache-from": list(cache.get("from", ())),
        "cache-to": list(cache.get("to", ())),
        "output": [f"type=image,name={name}"],
    }
    return {"target": {inputs.tier.name: _literal({key: value for key, value in target.items() if value})}}


def _literal(value: Any) -> Any:
    """``value`` with HCL's template marks escaped, so that bake takes every string as it is."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value
