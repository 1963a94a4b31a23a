"""What ``docker buildx bake`` makes of files that people write: buildx says it, and nothing is built."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, InfraError
from .process import Command, Run, run

_PATIENCE = 30.0

Targets = Mapping[str, Mapping[str, Any]]
"""Every target by its name, resolved: ``args``, ``dockerfile``, ``target``, ``context``, ``contexts``..."""


def printed(paths: Sequence[Path], text: bytes, *, folder: Path, env: Mapping[str, str], start: Run = run) -> Targets:
    """Every target of the files at ``paths``, and of ``text`` as one more file after them, where there is any.

    Those whose names begin with ``_``, which others inherit from, are left out.

    ``folder`` is where a person would stand; variables come from ``env`` alone.  Raises ``ConfigError`` for files that
    buildx refuses.
    """
    with tempfile.TemporaryDirectory(prefix="rocm-ci-bake-") as held:
        files = list(paths)
        if text:
            json_text = text.lstrip().startswith(b"{")  # no HCL begins so, and buildx tells them by the name
            files.append(Path(held) / ("overlay.json" if json_text else "overlay.hcl"))
            files[-1].write_bytes(text)
        named = [word for path in files for word in ("--file", str(path))]
        argv = ("docker", "buildx", "bake", *named, "--progress", "quiet", "--print", "*")
        done = start(Command(argv, cwd=folder, env=env, deadline=_PATIENCE))
        if not done.ok:
            what = done.tail(20).replace(f"{held}/", "")
            if "is not a docker command" in what or "unknown flag" in what:
                hint = "install docker-buildx 0.29 or newer, or run ./ci/bootstrap"
                raise InfraError("no-buildx", "docker buildx does not answer", context=what, hint=hint)
            raise ConfigError(
                "bake-file", "docker buildx bake refuses the files", context=what, hint="mend what it names"
            )
    try:
        targets: Targets = json.loads(done.stdout)["target"]
    except (ValueError, KeyError):
        raise InfraError("no-buildx", "docker buildx prints no targets", context=done.tail(5)) from None
    return {name: target for name, target in targets.items() if not name.startswith("_")}
