"""Tiny real wheels for tests."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(
    folder: Path,
    project: str = "rocm-probe",
    version: str = "0.1.0+rocm.7.2",
    tag: str = "py3-none-any",
    *,
    metadata: str = "",
    tags: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
    requires_python: str = ">=3.9",
) -> Path:
    """Write a wheel into ``folder``: one module that knows its version, and whatever is asked for."""
    stem = f"{project.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    said = (
        metadata or f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Python: {requires_python}\n"
    )
    listed = tags or tuple(f"{python}-{tag.partition('-')[2]}" for python in tag.partition("-")[0].split("."))
    content = {
        f"{project.replace('-', '_')}.py": f"__version__ = {version!r}\n",
        **(files or {}),
        f"{info}/METADATA": said,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        + "".join(f"Tag: {item}\n" for item in listed),
    }
    record = "".join(f"{name},{_digest(text)},{len(text.encode())}\n" for name, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return path


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
