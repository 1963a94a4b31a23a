"""The hermetic build context: exactly the files of the manifest, copied and checked while copying.

What is hashed is what is sent.  An input the model missed fails the build as a missing
file; it cannot go stale.  Modes are fixed and times follow from the content, so umask, owner and age drop out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..recipe.tree import Entry
from ..world import files


def materialise(folder: Path, selected: Mapping[str, Mapping[str, Entry]], roots: Mapping[str, Path]) -> None:
    """Copy the selected files of each context to ``folder/<context>``.

    Raises ``ConfigError`` when a file no longer has the bytes its identity was made from.
    """
    with files.disk_errors(f"cannot fill the build context {folder}"):
        for name, entries in selected.items():
            made: set[Path] = set()
            for entry in entries.values():
                _copy(roots[name] / entry.path, folder / name / entry.path, entry, made)
            _settle(folder / name)


def _copy(source: Path, target: Path, entry: Entry, made: set[Path]) -> None:
    try:
        found = files.content(source)
    except FileNotFoundError:
        found = None
    if found is None or (found.mode, found.sha256) != (entry.mode, entry.sha256):
        hint = "nothing was built from it; run the same command again when the tree is quiet"
        raise ConfigError("changed-underneath", f"{source} changed while the build was being prepared", hint=hint)
    if target.parent not in made:
        if any(folder.is_symlink() for folder in tuple(target.parents)[: entry.path.count("/")]):
            hint = "name the file by the folder it really is in"
            raise ConfigError("link-in-path", f"{source}: a link and a file below it cannot both be sent", hint=hint)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.add(target.parent)
    if entry.mode == "link":
        target.symlink_to(os.fsdecode(found.data))
    else:
        target.write_bytes(found.data)
        target.chmod(0o755 if entry.mode == "0755" else 0o644)
    files.settle(target, entry.sha256)


def _settle(root: Path) -> None:
    """Give every folder its fixed mode and time, deepest first."""
    root.mkdir(parents=True, exist_ok=True)
    for folder, _names, _leaves in os.walk(root, topdown=False):
        Path(folder).chmod(0o755)
        files.settle(Path(folder))
