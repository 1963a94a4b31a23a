"""OpenPGP keys, as gpg reads them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import ConfigError, InfraError
from . import files
from .process import Command, Run, run

_PATIENCE = 20.0


def fingerprints(data: bytes, start: Run = run) -> tuple[str, ...]:
    """The fingerprints of the primary keys in ``data``, armoured or not; the user's own key ring is left alone.

    Raises ``ConfigError`` for bytes that are no key and ``InfraError`` where gpg is missing.
    """
    with tempfile.TemporaryDirectory(prefix="rocm-ci-key-") as folder:
        home, file = Path(folder) / "home", Path(folder) / "key"
        with files.disk_errors(f"cannot write {file}"):
            home.mkdir(0o700)
            file.write_bytes(data)
        asked = ("gpg", "--homedir", str(home), "--batch", "--show-keys", "--with-colons", str(file))
        try:
            found = start(Command(asked, deadline=_PATIENCE))
        except InfraError as error:
            message = f"a fingerprint needs gpg: {error.problems[0].message}"
            raise InfraError("no-gpg", message, hint="install gnupg (apt-get install gnupg)") from None
    if not found.ok:
        hint = "the URL may be that of a web page and not of the key itself"
        raise ConfigError("no-key", "gpg finds no OpenPGP key in it", context=found.tail(3), hint=hint)
    rows = [line.split(":") for line in found.stdout.splitlines()]
    primary = [index for index, row in enumerate(rows) if row[0] == "pub"]
    return tuple(next(row[9] for row in rows[index:] if row[0] == "fpr") for index in primary)
