"""What the engine lists as its images, while other test processes remove theirs."""

from __future__ import annotations

import re
import subprocess
import time

_GONE = re.compile(r"content\b.*\bnot ?found", re.IGNORECASE | re.DOTALL)
"""The engine finds the names first and reads each image then: one that goes meanwhile fails the whole list."""


def listed(*words: str, host: str | None = None) -> list[str]:
    """The lines of ``docker images WORDS`` at the engine ``host``; asked again where an image went meanwhile."""
    at = ("--host", host) if host else ()
    for attempt in range(20):
        if attempt:
            time.sleep(0.1)
        done = subprocess.run(
            ("docker", *at, "images", *words), capture_output=True, text=True, check=False, timeout=300
        )
        if not (done.returncode and _GONE.search(done.stderr)):
            break
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
