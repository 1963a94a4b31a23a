"""Names that outlive a run: what is formatted can be parsed, and Docker's grammar takes it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ci.errors import ConfigError
from ci.names import ArtifactTag, BundleName, ContentTag, Place, Reference, build_tag, run_id, run_start

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
TIER = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,4}", fullmatch=True).filter(lambda name: len(name) <= 50)
COMPONENT = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
PATH = st.lists(COMPONENT, min_size=1, max_size=3).map("/".join)
LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,5}[A-Za-z0-9])?", fullmatch=True)
PORT = st.integers(1, 65535).map(lambda number: f":{number}")
HOST = st.one_of(
    st.builds(
        lambda labels, port: ".".join(labels) + port, st.lists(LABEL, min_size=2, max_size=3), PORT | st.just("")
    ),
    st.builds(lambda label, port: label + port, LABEL, PORT),
    st.builds(lambda port: "localhost" + port, PORT | st.just("")),
    st.builds(lambda port: "[::1]" + port, PORT | st.just("")),
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
DIGEST = HEX.map("sha256:".__add__)

DOCKER_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""distribution/reference, ``tag``."""


@given(TIER, HEX)
def test_artifact_tags_round_trip_and_are_no_content_tags(tier: str, key: str) -> None:
    tag = ArtifactTag(tier, key)
    assert ArtifactTag.parse(str(tag)) == tag
    assert DOCKER_TAG.fullmatch(str(tag))
    assert ContentTag.parse(str(tag)) is None
    assert ArtifactTag.parse(str(ContentTag(tier, key))) is None


@given(TIER, HEX)
def test_bundle_names_round_trip(tier: str, identity: str) -> None:
    name = BundleName(tier, identity)
    assert BundleName.parse(str(name)) == name
    assert BundleName.parse(str(ContentTag(tier, identity))) is None
    assert BundleName.parse(f"{ArtifactTag(tier, identity)}.tar") is None


@given(TIER, HEX)
def test_content_tags_round_trip_and_fit(tier: str, identity: str) -> None:
    tag = ContentTag(tier, identity)
    assert ContentTag.parse(str(tag)) == tag
    assert DOCKER_TAG.fullmatch(str(tag))


@given(HEX, HEX)
def test_a_tier_that_looks_like_a_tag_is_still_a_tier(one: str, two: str) -> None:
    tag = ContentTag(f"base-v1-{one}", two)
    assert ContentTag.parse(str(tag)) == tag


@pytest.mark.parametrize(
    "text",
    [
        "latest",
        "ci-base-v1-",
        "ci-base-v2-" + "a" * 64,
        "ci-base-v1-" + "a" * 63,
        "ci-base-v1-" + "a" * 65,
        "ci-base-v1-" + "A" * 64,
        "-v1-" + "a" * 64,
        "ci-base-v1-" + "a" * 64 + "\n",
        "x:ci-base-v1-" + "a" * 64,
    ],
)
def test_other_tags_are_no_content_tags(text: str) -> None:
    assert ContentTag.parse(text) is None


@given(HOST | st.just(""), PATH, TAG | st.just(""), DIGEST | st.just(""))
def test_references_round_trip(host: str, path: str, tag: str, digest: str) -> None:
    first = path.partition("/")[0]
    assume(host or "/" not in path or not ("." in first or first == "localhost"))  # Docker reads a host there
    reference = Reference(host, path, tag, digest)
    assert Reference.parse(str(reference)) == reference
    pinned = reference.at("sha256:" + "0" * 64)
    assert Reference.parse(str(pinned)) == pinned
    assert str(pinned).startswith(reference.repository)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("busybox", ("", "busybox", "", "")),
        ("busybox:1", ("", "busybox", "1", "")),
        ("team/busybox", ("", "team/busybox", "", "")),
        ("localhost/busybox", ("localhost", "busybox", "", "")),
        ("localhost:5000/a/b:c", ("localhost:5000", "a/b", "c", "")),
        ("registry.example/a__b/c---d", ("registry.example", "a__b/c---d", "", "")),
        ("HOST.example/a", ("HOST.example", "a", "", "")),
        ("[2001:DB8::1]:5000/a", ("[2001:DB8::1]:5000", "a", "", "")),
        ("a:5000", ("", "a", "5000", "")),
        ("a@sha256:" + "1" * 64, ("", "a", "", "sha256:" + "1" * 64)),
    ],
)
def test_references_as_docker_reads_them(text: str, parts: tuple[str, ...]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.path, found.tag, found.digest) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "a//b",
        "a/",
        "/a",
        "a:",
        "a:-b",
        "a:" + "b" * 129,
        "a@sha256:12",
        "a@md5:" + "1" * 64,
        "a b",
        "a\n",
        "a___b",
        "a.-b",
        "-a.example/b",
        "a-.example/b",
        "https://a.example/b",
        "a:é",
        "٣",
    ],
)
def test_what_docker_refuses_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Reference.parse(text)
    assert caught.value.problems[0].reference == "bad-reference"


@given(HOST, PATH | st.just(""))
def test_places_round_trip(host: str, namespace: str) -> None:
    place = Place(host, namespace)
    assert Place.parse(str(place)) == place
    assert Place.parse(f"{place}/") == place
    inside = place.repository("rocm-ci/local")
    assert Reference.parse(str(inside)) == inside
    assert str(inside) == f"{place}/rocm-ci/local"


@pytest.mark.parametrize(
    "text",
    ["", "/", "team", "team/name", "http://localhost:5000", "localhost:5000/Team", "a.example/b:1",
     "a.example/b@sha256:" + "1" * 64, "me:secret@a.example", "a.example//b", "a.example\n", "a b.example"],
)  # fmt: skip
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Place.parse(text)
    problem = caught.value.problems[0]
    assert (problem.reference, "localhost:5000" in problem.hint) == ("bad-registry", True)


@given(
    TIER,
    st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants it naive
    st.text("0123456789abcdef", min_size=8, max_size=8),
)
def test_names_of_a_run_fit_into_a_tag(tier: str, start: datetime, salt: str) -> None:
    run = run_id(start, salt)
    assert run.endswith(f"Z-{salt}")
    assert DOCKER_TAG.fullmatch(build_tag(run, tier))
    assert ContentTag.parse(build_tag(run, tier)) is None
    assert run_start(run) == start.replace(microsecond=0)


def test_runs_sort_by_their_start() -> None:
    early, late = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
    assert run_id(early, "ffffffff") == "20260203T040506Z-ffffffff"
    assert run_id(early, "ffffffff") < run_id(late, "00000000")


@pytest.mark.parametrize(
    "text", ["", "20260203T040506Z", "20261303T040506Z-ffffffff", "2026023T040506Z-ffffffff", "r-1"]
)
def test_what_is_no_name_of_a_run_began_at_no_time(text: str) -> None:
    assert run_start(text) is None
