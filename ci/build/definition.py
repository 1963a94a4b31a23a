"""The one generated bake definition of a build: literal values, nothing read from the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .inputs import RECIPE, Inputs

LABEL = "org.rocm-ci."
"""Prefix of the labels that let an image say what it is."""

CA_FILE = "ca.pem"
"""The CA bundle is public, and too large for an environment variable: a file beside the definition."""

FILES = "artifact/files"
"""The folder, beside the definition, that the files of a stage go to."""

_NOTHING: Mapping[str, str] = {}


def define(
    inputs: Inputs,
    *,
    platform: str,
    name: str,
    labels: Mapping[str, str],
    parents: Mapping[str, str],
    secrets: Iterable[str],
    cache: Mapping[str, tuple[str, ...]],
    stage: str = "",
    given: Mapping[str, str] = _NOTHING,
    attest: Iterable[str] = (),
    driver: str = "docker",
) -> dict[str, Any]:
    """The bake file of one tier; paths are relative to the folder it is saved in.

    ``name`` is the image it exports to the engine, ``parents`` maps parent arguments to pinned
    references, ``secrets`` are ids of ``secret_environment``, ``cache`` has ``from`` and ``to``.
    With ``stage`` the files of that stage go to ``FILES`` instead; ``given`` maps a stage to the folder that
    stands in for it, since to BuildKit a named context comes before a stage of its name.  ``driver`` is the
    builder's.
    """
    contexts = {context: f"context/{context}" for context in inputs.selected if context != RECIPE}
    target = {
        "context": f"context/{RECIPE}",
        "dockerfile": "../../Dockerfile",
        "target": stage or inputs.tier.target,
        "platforms": [platform],
        "args": {**dict(inputs.args), **parents},
        "labels": dict(labels),
        "contexts": {**contexts, **given},
        "secret": [_secret(identifier) for identifier in secrets],
        "cache-from": list(cache.get("from", ())),
        "cache-to": list(cache.get("to", ())),
        "attest": list(attest),
        "output": [output(driver, name, stage)],
    }
    return {"target": {inputs.tier.name: _literal({key: value for key, value in target.items() if value})}}


def output(driver: str, image: str, stage: str = "") -> str:
    """Where a build goes: into the engine as ``image``, or with ``stage`` to ``FILES``.

    Only the engine's own builder shares the engine's images; any other sends the image there.  No builder pushes:
    what is published is what the engine has, looked at (docs/decisions/0011-builders.md).
    """
    if stage:
        return f"type=local,dest={FILES}"
    return f"type={'image' if driver == 'docker' else 'docker'},name={image}"


def _secret(identifier: str) -> str:
    """How bake gets a secret: from its own environment, so that the value is never on disk.

    Replayed without these variables the secret is absent, as on a host without such settings.
    """
    if identifier == "ca":
        return f"type=file,id=ca,src={CA_FILE}"
    return f"type=env,id={identifier},env={_variable(identifier)}"


def _variable(identifier: str) -> str:
    return f"ROCM_CI_SECRET_{identifier.upper()}"


def secret_environment(secrets: Mapping[str, str]) -> dict[str, str]:
    """The variables that buildx reads the secrets from."""
    return {_variable(identifier): value for identifier, value in secrets.items() if identifier != "ca"}


def _literal(value: Any) -> Any:
    """``value`` with HCL's template marks escaped, so that bake takes every string as it is."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value
