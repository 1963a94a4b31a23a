"""What a CI tells of the job we run in, in one shape for all of them.

Facts decide whether a run is trusted, so what was not told is never guessed: it stands in
``unclear``, and such a job is trusted by nobody.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HOST = r"[A-Za-z0-9.-]+"
_REMOTE = re.compile(
    rf"(?:(?:https?|ssh|git)://(?:[^@/?#\\\s]*@)?(?P<host>{_HOST})(?::\d+)?/|(?:[\w.-]+@)?(?P<scp>{_HOST}):(?!/))"
    r"(?P<path>[^\s:?#\\]+?)(?:\.git)?/?",
    re.ASCII,
)


class Facts(NamedTuple):
    """One job of a CI.

    ``repository`` is the one it is run for, ``source`` the one its code is from, both as ``host/owner/name`` and
    empty where that was not told.  At most one of ``branch`` and ``tag`` is there; of a pull request the branch is
    the one it comes from, and proves nothing.  ``url`` leads to the job.  ``unclear`` says why this cannot be
    known to be the repository's own code.  ``base`` is the branch a pull request or a merge queue is for, ``labels``
    are those it has.  ``before`` is the commit a branch was at before the push, where that was told.
    """

    provider: str
    repository: str
    source: str = ""
    branch: str = ""
    tag: str = ""
    commit: str = ""
    pull_request: str = ""
    build: str = ""
    url: str = ""
    unclear: str = ""
    base: str = ""
    labels: tuple[str, ...] = ()
    before: str = ""

    @property
    def fork(self) -> bool:
        """Whether the code is from another repository; one that was not told is another."""
        return self.source != self.repository or not self.source

    def __str__(self) -> str:
        where = self.repository or "an unknown repository"
        if self.pull_request:
            origin = f", from {self.source or 'an unknown repository'}" if self.fork else ""
            return f"{self.provider}: pull request {self.pull_request} of {where}{origin}"
        what = f"tag {self.tag}" if self.tag else f"branch {self.branch}" if self.branch else "no branch and no tag"
        return f"{self.provider}: {what} of {where}"


def repository(remote: str) -> str:
    """``host/owner/name`` of a git remote in any spelling, without login and ``.git``; empty for what is none."""
    match = _REMOTE.fullmatch(remote.strip())
    if match is None:
        return ""
    path = match["path"].strip("/")
    return f"{(match['host'] or match['scp']).lower()}/{path}" if "/" in path else ""
