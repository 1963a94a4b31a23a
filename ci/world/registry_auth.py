"""How a registry lets us in: challenges, tokens, and the words when it does not.

A registry says in a 401 what it wants: HTTP Basic, or a token from a server it names.
Tokens are kept per scope until they expire.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from .clock import Clock
from .credentials import Credentials
from .http import Headers, Response, address

API_HEADER = "docker-distribution-api-version"
CLIENT_ID = "rocm-ci"
MAX_HEADER = 4096
# The codes of the OCI distribution specification: only a registry speaks them.
REGISTRY_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DENIED",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "TOOMANYREQUESTS",
        "UNAUTHORIZED",
        "UNSUPPORTED",
    }
)
_PART = re.compile(r'(?:([A-Za-z]+)\s+)?([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Refused(Exception):
    """The registry gave an answer that settles the matter, and not the one we asked for.

    ``denied`` says that it is our right that lacks, not its health.
    """

    def __init__(self, reason: str, status: int | None, *, denied: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.denied = denied


class Again(Exception):
    """An answer that a later attempt may improve; ``retry_after`` is the header as sent."""

    def __init__(self, reason: str, status: int | None, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a 401 offers."""

    scheme: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request to the token server, before it has its time limits."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


def challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a ``WWW-Authenticate`` header that have parameters."""
    found: list[tuple[str, dict[str, str]]] = []
    for scheme, name, quoted, plain in _PART.findall(header[:MAX_HEADER]):
        if scheme:
            found.append((scheme.lower(), {}))
        if found:
            found[-1][1][name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
    return tuple(Challenge(scheme, params) for scheme, params in found)


def problem_of(response: Response) -> str:
    """``status 404 (MANIFEST_UNKNOWN: manifest unknown)``: a refusal in the registry's own words."""
    status = f"status {response.status}"
    errors = [f"{code}: {text}" if text else code for code, text in error_codes(response)]
    if errors:
        return f"{status} ({'; '.join(errors)[:300]})"
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    return f"{status} ({kind}, which no registry sends)" if kind == "text/html" else status


def error_codes(response: Response) -> tuple[tuple[str, str], ...]:
    """Code and message of each error in a registry's JSON error body; empty if it is none."""
    errors = json_object(response.body).get("errors")
    if not isinstance(errors, list):
        return ()
    pairs = [(error.get("code"), error.get("message")) for error in errors if isinstance(error, dict)]
    return tuple((_plain(code), _plain(text)) for code, text in pairs if code)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, empty if it is anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_html(headers: Headers) -> bool:
    """Whether a web page came where a registry would send JSON."""
    return "html" in headers.get("content-type", "").lower()


def from_registry(response: Response) -> bool:
    """Whether this answer was written by a registry and not by something before it."""
    if is_html(response.headers):
        return False
    return response.headers.get(API_HEADER, "").startswith("registry/2") or any(
        code in REGISTRY_CODES for code, _ in error_codes(response)
    )


def _plain(value: object) -> str:
    """Foreign text for a message: printable and on one line."""
    text = " ".join(str(value or "").split())
    return "".join(char for char in text if char.isprintable())


class Login:
    """The ways in to one registry that worked so far."""

    def __init__(
        self, host: str, *, secure: bool, credentials: Callable[[str], Credentials | None], clock: Clock
    ) -> None:
        self._host = host
        self._secure = secure
        self._credentials = credentials
        self._clock = clock
        self._basic: str | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._sent: set[str] = set()

    def masked(self, text: str) -> str:
        """``text`` without what we logged in with: a server may repeat what it was sent."""
        for secret in sorted(self._sent, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def authorization(self, scope: str) -> str | None:
        """The header to send with a request for ``scope``, if we have one that is still good."""
        token, expiry = self._tokens.get(scope, ("", 0.0))
        return f"Bearer {token}" if token and self._clock.monotonic() < expiry else self._basic

    def answer(self, response: Response, scope: str, fetch: Callable[[Fetch], Response]) -> None:
        """Do what a 401 asks for; raises ``Refused``, ``Again`` or what ``fetch`` raises."""
        offers = {offer.scheme: offer for offer in challenges(response.headers.get("www-authenticate", ""))}
        bearer = offers.get("bearer")
        if bearer is not None and bearer.params.get("realm"):
            self._tokens[scope] = self._token(bearer, scope, fetch)
            self._sent.add(self._tokens[scope][0])
        elif "basic" in offers:
            self._basic = self._basic_header(response)
        else:
            raise self.refusal(response, "it does not say how to log in")

    def refusal(self, response: Response, why: str = "") -> Refused:
        """The error for a 401 or 403 that came in spite of all we have."""
        parts = [f"unauthorized: {problem_of(response)}", why, self._remedy()]
        reason = "; ".join(part for part in parts if part)
        return Refused(reason, response.status, denied=from_registry(response))

    def _remedy(self) -> str:
        user = self._credentials(self._host)
        who = f"logged in as {user.username or 'a token'}" if user else "no credentials are configured"
        return f"{who}; to log in: docker login {self._host}"

    def _basic_header(self, response: Response) -> str:
        user = self._credentials(self._host)
        if user is None or not user.password:
            raise self.refusal(response)
        return self._basic_of(user)

    def _basic_of(self, user: Credentials) -> str:
        found = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        self._sent |= {found, user.password} - {""}
        return f"Basic {found}"

    def _token(self, challenge: Challenge, scope: str, fetch: Callable[[Fetch], Response]) -> tuple[str, float]:
        realm = challenge.params["realm"]
        where = f"token server {address(realm)}"
        if urlsplit(realm).scheme != "https" and (self._secure or urlsplit(realm).scheme != "http"):
            raise Refused(f"{where} is not https; refusing to send it a password", None)
        asked = self._clock.monotonic()
        response = fetch(self._token_request(challenge, challenge.params.get("scope") or scope))
        if response.status == 429 or response.status >= 500:
            raise Again(f"{where}: status {response.status}", response.status, response.headers.get("retry-after"))
        if response.status != 200:
            denied = response.status in {400, 401, 403} and not is_html(response.headers)
            reason = f"unauthorized: {where}: {problem_of(response)}; {self._remedy()}"
            raise Refused(reason, response.status, denied=denied)
        content = json_object(response.body)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise Refused(f"{where} answered 200 without a token", 200)
        return token, asked + _lifetime(content.get("expires_in"))

    def _token_request(self, challenge: Challenge, scope: str) -> Fetch:
        realm = challenge.params["realm"]
        query = {"service": challenge.params.get("service", ""), "scope": scope}
        query = {name: value for name, value in query.items() if value}
        user = self._credentials(self._host)
        if user is not None and user.identity_token:
            self._sent.add(user.identity_token)
            form = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": user.identity_token,
                "client_id": CLIENT_ID,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return Fetch("POST", realm, headers, urlencode(form).encode())
        joint = "&" if urlsplit(realm).query else "?"
        url = f"{realm}{joint}{urlencode(query)}" if query else realm
        return Fetch("GET", url, {"Authorization": self._basic_of(user)} if user else {})


def _lifetime(seconds: object) -> float:
    """How long a token is used: a minute if it does not say, and less than it says."""
    told = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 60.0
    return told * 0.9
