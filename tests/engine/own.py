"""Image names that are this process's alone: test processes and checkouts share one engine and never meet in it."""

from __future__ import annotations

import secrets

SHARED = "rocm-ci-test/"
FAMILY = f"rocm-ci-test-{secrets.token_hex(4)}"
TINY = f"{FAMILY}/tiny"
BUSY = f"{FAMILY}/busy:1"


def own(text: str) -> str:
    """A stack file's text with names of images that no other process has."""
    return text.replace(SHARED, f"{FAMILY}/")
