"""Provenance, SBOM and signature: what is asked for, and what is said of what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ci.build.attest import PROVENANCE, Attested, sign, wanted
from ci.build.bake import Helped, spoilt
from ci.build.progress import Progress
from ci.build.workspace import Workspace
from ci.errors import DeadlineError, InfraError
from ci.settings import capture
from ci.world.buildx import Baked
from ci.world.fakes import Ending, FakeClock, FakeRun, FakeSend, image
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.process import Command, Finished
from ci.world.registry import Registry
from tests.unit.test_caches import missing, other_builder, work

DIGEST = "sha256:" + "5" * 64
SCANNER = "registry.example/tools/scanner:1"
PINNED = {"SBOM_SCANNER": SCANNER, "SBOM_SCANNER_DIGEST": DIGEST}
THERE = Headers(
    {"Content-Type": "application/vnd.oci.image.index.v1+json", "Docker-Content-Digest": DIGEST, "Content-Length": "9"}
)


def run(tmp_path: Path, pins: Mapping[str, str], *, here: bool = False, **environ: str) -> Workspace:
    made = work(tmp_path, environ)
    if here:
        made.engine.images[SCANNER] = image(DIGEST)  # type: ignore[attr-defined]
    return replace(made, stack=replace(made.stack, pins=pins))


def told(made: Workspace, answer: Response | Unreachable) -> Attested:
    def send(request: Request) -> Response:
        assert request.url == f"https://registry.example/v2/tools/scanner/manifests/{DIGEST}"
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    login = FakeSend(send)
    return wanted(
        made, lambda host: Registry(host, send=login, clock=FakeClock(), credentials=lambda _host: None, attempts=1)
    )


NOTHING = Response(500)


@pytest.mark.parametrize(
    ("pins", "why"),
    [
        ({}, "no SBOM: no SBOM_SCANNER is pinned"),
        ({"SBOM_SCANNER": SCANNER}, "no SBOM: no SBOM_SCANNER is pinned"),
        (
            {**PINNED, "SBOM_SCANNER_DIGEST": f"unresolved:{SCANNER}"},
            f"no SBOM: {SCANNER} is not pinned (inv pins --update SBOM_SCANNER_DIGEST --stack RECIPE/tiny.yaml)",
        ),
    ],
)
def test_without_a_pinned_scanner_there_is_provenance_alone_and_it_is_said(
    tmp_path: Path, pins: Mapping[str, str], why: str
) -> None:
    said = why.replace("RECIPE", str(tmp_path / "recipe"))
    assert told(run(tmp_path, pins), NOTHING) == ((PROVENANCE,), ("provenance", said))


def test_a_scanner_of_the_engine_is_used_and_nobody_is_asked(tmp_path: Path) -> None:
    found = wanted(run(tmp_path, PINNED, here=True), lambda host: pytest.fail(f"{host} was asked"))
    assert found.words == ("type=provenance,mode=max", f"type=sbom,generator={SCANNER}@{DIGEST}")
    assert found.told == ("provenance", f"SBOM by {SCANNER}")
    assert found.scans


def test_another_builder_does_not_see_the_engines_images(tmp_path: Path) -> None:
    far = run(tmp_path, PINNED, here=True, **other_builder(tmp_path))
    assert told(far, missing("MANIFEST_UNKNOWN")).told[1].startswith("no SBOM")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Response(200, THERE), ""),
        (missing("MANIFEST_UNKNOWN"), "registry.example does not have sha256:555555555555"),
        (Response(500), "status 500"),
        (Unreachable("dns", "no such host"), "no such host"),
    ],
)
def test_a_scanner_that_cannot_be_had_is_said(tmp_path: Path, answer: Response | Unreachable, why: str) -> None:
    found = told(run(tmp_path, PINNED), answer)
    assert found.scans == (not why)
    assert found.told[1].startswith("no SBOM" if why else "SBOM by")
    assert why in found.told[1]


def test_an_image_of_the_hub_is_asked_for_there(tmp_path: Path) -> None:
    hosts: list[str] = []
    for name in ("docker/scanner:1", "scanner:1"):

        def send(request: Request) -> Response:
            hosts.append(request.url)
            return missing("MANIFEST_UNKNOWN")

        fake = FakeSend(send)
        wanted(
            run(tmp_path, {**PINNED, "SBOM_SCANNER": name}),
            lambda host, fake=fake: Registry(host, send=fake, clock=FakeClock(), credentials=lambda _host: None),  # type: ignore[misc]
        )
    assert [url.partition("/v2/")[2].partition("/manifests")[0] for url in hosts] == [
        "docker/scanner",
        "library/scanner",
    ]


def test_only_a_scanner_that_is_named_is_blamed() -> None:
    baked = Baked(Finished(Command(("docker",)), 1, "", ""), {})
    scans = Helped((), Attested(("a", "b"), ()))
    for words, helped, blamed in (
        ("failed to solve: scanner docker.io/x/y:1 does not have cmd", scans, True),
        ("failed to solve: scanner docker.io/x/y:1 does not have cmd", Helped((), Attested(("a",), ())), False),
        ("failed to solve: dockerfile parse error on line 3", scans, False),
    ):
        progress = Progress()
        progress.feed(f"ERROR: {words}")
        assert bool(spoilt(progress, baked, helped)) == blamed


# --- signing ------------------------------------------------------------------------------------

REFERENCE = f"registry.example/team/a:b@{DIGEST}"
COMMAND = ("cosign", "sign", "--yes", "--key", "/keys/ci.key", REFERENCE)
KEY = {"ROCM_CI_SIGNING_KEY": "/keys/ci.key"}


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ((0, "", "Pushing signature"), "signed with cosign"),
        ((1, "", "first\nerror: no such key"), "not signed: cosign ended with 1: error: no such key"),
        (InfraError("no-program", "cosign is not installed or not on PATH"), "not signed: cosign is not installed"),
        (DeadlineError("deadline", "cosign ran longer than 120 s"), "not signed: cosign ran longer"),
    ],
)
def test_a_signature_is_made_with_the_key_or_said_to_be_missing(tmp_path: Path, ending: Ending, said: str) -> None:
    start = FakeRun({COMMAND: ending})
    assert sign(run(tmp_path, {}, here=False, **KEY), REFERENCE, start, lambda _program: True).startswith(said)
    (command,) = start.commands
    assert command.deadline
    assert command.env is None, "a key of a cloud takes its credentials from the environment"


def test_without_a_key_or_a_tool_nothing_is_started(tmp_path: Path) -> None:
    start = FakeRun({})
    assert sign(run(tmp_path, {}), REFERENCE, start) == "not signed: no key (ROCM_CI_SIGNING_KEY)"
    assert sign(run(tmp_path, {}, here=False, **KEY), REFERENCE, start, lambda _program: False) == (
        "not signed: cosign is not installed"
    )
    assert start.commands == []


def test_a_key_with_a_password_in_its_address_is_shown_without() -> None:
    settings = capture({}, {"ROCM_CI_SIGNING_KEY": "hashivault://me:hunter2@vault/key"})
    assert "hunter2" not in settings.get("ROCM_CI_SIGNING_KEY").shown
