"""How a bucket is asked, with which patience, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import InfraError

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store


class Patience(NamedTuple):
    """Seconds that one request may take, its body too, and seconds after which none is repeated."""

    request: int
    repeats: int


QUESTION = Patience(15, 10)
"""For what is small: a bucket that does not answer is an error within half a minute."""

TRANSFER = Patience(120, 30)
"""For what is large: each part of a file may take two minutes."""

_CONNECT = 5
_REPEATS = 6

_REFUSALS = {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_HINT = "check AWS_REGION, AWS_ENDPOINT_URL, the credentials and the bucket's name; then run it again"
_RENEW = (
    "they have expired, or may not do this: renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN, then run it again"
)
_OPEN = "let everybody read and list it, or ask with credentials"
_CLOCK = "set the clock of this machine (chronyc makestep, or timedatectl set-ntp true), then run it again"
_NOBODY = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this where the machine has a role"


def s3(name: str, prefix: str, patience: Patience, *, anonymous: bool) -> S3Store:
    """The objects below ``prefix`` of a bucket; nothing is asked yet.

    Each body goes up with its SHA-256: S3 compares it with what it got and refuses to store anything
    else, an object as well as a part of one.
    """
    from obstore.store import S3Store

    config: dict[str, Any] = {
        "checksum_algorithm": "SHA256",
        "connect_timeout": f"{_CONNECT} seconds",  # here: options of the client would replace AWS_ALLOW_HTTP
        "timeout": f"{patience.request} seconds",
    }
    if anonymous:
        config["skip_signature"] = True
    return S3Store(
        name,
        prefix=prefix or None,
        config=cast("S3Config", config),
        retry_config={
            "max_retries": _REPEATS,
            "retry_timeout": timedelta(seconds=patience.repeats),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=3), "base": 2},
        },
    )


def nothing_there(error: FileNotFoundError) -> bool:
    """Whether it was the bucket that said so, of the object: any web server answers 404, and so does no bucket."""
    return "<Code>NoSuchKey</Code>" in str(error)


@contextmanager
def answers(url: str, *, anonymous: bool = False) -> Iterator[None]:
    """Whatever the bucket answers that is no answer to the question is the world's fault."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise explained(url, str(error), anonymous=anonymous) from None


def explained(url: str, text: str, *, anonymous: bool) -> InfraError:
    """The error for what the client says; of what the server said only its code and message, which name no secret."""
    asked = text.partition("\n")[0].partition("<")[0].rstrip(" :")
    status = _of(r"status code: (\d{3})", text)
    code = _of(r"(?:<Code>|\(code: )(\w+)", text)
    said = ": ".join(part for part in (f"{status} {code}".strip(), _of(r"<Message>([^<]*)</Message>", text)) if part)
    if "/latest/" in asked:
        return InfraError("store", f"there are no credentials for {url}", hint=_NOBODY, context=asked)
    if code == "RequestTimeTooSkewed":
        return InfraError("store", f"{url} refuses what a wrong clock has signed", hint=_CLOCK, context=asked)
    if status in {"401", "403"} or code in _REFUSALS:
        if anonymous:
            return InfraError("store", f"{url} is not open to everybody ({said})", hint=_OPEN, context=asked)
        return InfraError("store", f"{url} refuses the credentials ({said})", hint=_RENEW, context=asked)
    if "kind: Timeout" in text:
        said = "no complete answer came in time"
    why = said or _of(r'(?:message|error): "([^"]+)"', text) or asked
    return InfraError("store", f"{url} cannot be used: {why}", hint=_HINT, context=asked)


def _of(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
