"""Files that servers have: is one there, and what is in a small one; in three values."""

from __future__ import annotations

from ..world.http import Request, Send, Timeouts, Unreachable, address
from ..world.probes import Told

PATIENCE = 15.0
"""Seconds for one request."""

_TIMES = Timeouts(connect=8.0, read=12.0, total=PATIENCE)
_GONE = frozenset({404, 410})
_REFUSED = frozenset({403, 405, 501})
"""What servers say to a HEAD that they would answer as a GET."""


def there(url: str, send: Send) -> Told:
    """Whether there is a file at ``url``: HEAD; of a server that refuses that, the first byte."""
    try:
        answer = send(Request("HEAD", url, timeout=_TIMES))
        if answer.status in _REFUSED:
            answer = send(Request("GET", url, {"Range": "bytes=0-0"}, timeout=_TIMES, max_body=1))
    except Unreachable as error:
        return Told(True if error.kind == "too-large" else None, error.reason)
    if answer.status in {200, 206}:
        page = "html" in answer.headers.get("content-type", "")
        return Told(None, f"{address(url)}: a web page came instead") if page else Told(True)
    return _refusal(url, answer.status)


def read(url: str, send: Send, most: int) -> bytes | Told:
    """The file at ``url`` if it has at most ``most`` bytes, else why it cannot be had."""
    try:
        answer = send(Request("GET", url, timeout=_TIMES, max_body=most))
    except Unreachable as error:
        return Told(None, error.reason)
    return answer.body if answer.status == 200 else _refusal(url, answer.status)


def _refusal(url: str, status: int) -> Told:
    return Told(False if status in _GONE else None, f"{address(url)}: status {status}")
