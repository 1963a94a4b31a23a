"""Secrets out of text that leaves the sandbox: command lines, kernel logs, mount options."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_NAMED = re.compile(
    r"(?P<name>[\w-]*(?:token|secret|passw(?:or)?d|passwd|api[-_]?key|access[-_]?key|credential)[\w-]*)"
    r"(?P<between>\s*[=:]\s*|\s+)(?P<value>(?:Bearer\s+)?[^\s,;&\"']+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:hf_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abp]-|sk-|dckr_pat_)[\w-]{8,}|\bA(?:KIA|SIA)[A-Z0-9]{16}\b"
)
_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def mask(text: str) -> str:
    """``text`` with what looks like a secret replaced; too much rather than too little."""
    text = _IN_URL.sub(HIDDEN, text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _KNOWN.sub(HIDDEN, text)
    return _NAMED.sub(lambda found: f"{found['name']}{found['between']}{HIDDEN}", text)


def mask_all(value: Any) -> Any:
    """Every text inside a JSON value masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [mask_all(each) for each in value]
    if isinstance(value, dict):
        return {name: mask_all(each) for name, each in value.items()}
    return value
