"""The model cache that jobs of a host share: looked at before a step begins, so that none downloads in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError, InfraError


def check(cache: str, models: Sequence[str]) -> Path:
    """The cache (an ``HF_HOME``) as a path; raises where it is not set or lacks one of ``models`` (OWNER/NAME)."""
    if not cache:
        hint = "set ROCM_CI_MODEL_CACHE to the HF_HOME that holds it, or HF_HOME=DIR hf download MODEL to make one"
        raise ConfigError("no-model-cache", f"the step needs {', '.join(models)}", hint=hint)
    root = Path(cache).absolute()
    if not (root / "hub").is_dir():
        hint = "a mount that failed looks like this; it has to be the folder that holds hub/"
        raise InfraError("no-model-cache", f"ROCM_CI_MODEL_CACHE={cache} has no folder hub", hint=hint)
    missing = tuple(_missing(root, models))
    if missing:
        hint = f"HF_HOME={cache} hf download {missing[0].partition(' ')[0]}"
        raise InfraError("no-model", f"{cache} lacks {'; '.join(missing)}", hint=hint)
    return root


def _missing(root: Path, models: Sequence[str]) -> Iterator[str]:
    for model in models:
        folder = root / "hub" / f"models--{model.replace('/', '--')}"
        files = [path for path in folder.glob("snapshots/*/*") if path.is_file()]
        if not files:  # a link whose blob is gone is no file
            yield model
        elif any(folder.glob("blobs/*.incomplete")):
            yield f"{model} (a download of it broke off)"
