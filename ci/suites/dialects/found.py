"""The catalogue that stands under a path, in our form: a suite file, a step file, or a folder of step files."""

from __future__ import annotations

from pathlib import Path

from ... import documents
from ...errors import ConfigError
from ...recipe.stack import archs
from ...world import files
from .lost import Converted, is_foreign


def found(path: Path, own: Path | None, shown: str) -> Converted:
    """What ``path`` says, as ``shown``: our own as it is, else converted; ``own`` is the stack's own suite file.

    Raises ``ConfigError`` for a folder with other files, and for a file that only names the folders of step files.
    """
    if not path.is_dir():
        document = documents.read(files.read_text(path), shown)
        if isinstance(document.value, dict) and "suites" in document.value:
            return Converted(document, (), ())
    from . import folder, reading
    from .home import home

    around = home(documents.read(files.read_text(own), own.name) if own else None, archs())
    if path.is_dir():
        return folder.joined(folder.documents(path, shown), around, shown)
    if problem := folder.of_configuration(document):
        raise ConfigError.of([problem])
    return reading.convert(document, around) if is_foreign(document) else Converted(document, (), ())
