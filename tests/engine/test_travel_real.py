"""The manifest travels with its image: label and registry artifact give the same list back."""

from __future__ import annotations

import json

from ci.build import travel
from ci.identity import Input, Manifest
from ci.world.clock import SystemClock
from ci.world.http import send
from ci.world.registry import Found, Registry
from tests.engine.conftest import Cli, docker
from tests.engine.own import TINY

SMALL = Manifest.of([Input("epoch", "", "2026-11"), Input("arg", "A", "é")])
LARGE = Manifest.of(Input("file", f"recipe:{n}", f"0644 {n * 7919:064x}") for n in range(9000))


def client(host: str) -> Registry:
    return Registry(host, send=send, clock=SystemClock(), credentials=lambda _host: None)


def test_a_label_gives_the_manifest_back_and_stays_small() -> None:
    assert travel.from_label(travel.label(SMALL)) == SMALL
    assert travel.label(LARGE) == ""
    assert travel.from_label("") is None


def test_an_artifact_gives_the_manifest_back_and_is_listed_once(registry: str) -> None:
    oci = client(registry)
    body = json.dumps({"schemaVersion": 2, "mediaType": travel._INDEX, "manifests": []}).encode()
    image = oci.put_manifest("a/b", "1", body, travel._INDEX)
    subject = {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
    assert travel.fetch(oci, "a/b", image.digest) is None
    for manifest in (LARGE, LARGE):
        travel.publish(oci, "a/b", subject, manifest)
    listed = oci.manifest("a/b", image.digest.replace(":", "-"))
    assert isinstance(listed, tuple)
    assert len(json.loads(listed[1])["manifests"]) == 1
    assert travel.fetch(oci, "a/b", image.digest) == LARGE


def test_a_published_image_has_its_manifest_beside_it(cli: Cli, tiny: tuple[str, ...], registry: str) -> None:
    pushed = cli("build-base", "--push", "--registry", registry, *tiny).tier("base")
    name = pushed["reference"].partition("@")[0]
    oci = client(registry)
    seen = oci.head(TINY, pushed["reference"].partition("@")[0].rpartition(":")[2])
    assert isinstance(seen, Found)
    manifest = travel.fetch(oci, TINY, seen.digest)
    assert manifest is not None
    assert manifest.identity == pushed["identity"]
    packed = docker("image", "inspect", "--format", '{{index .Config.Labels "org.rocm-ci.manifest"}}', name)
    assert travel.from_label(packed) == manifest
    again = cli("explain", "base", "--against", pushed["reference"].partition("@")[0], *tiny)
    assert again.json["same"] is True
