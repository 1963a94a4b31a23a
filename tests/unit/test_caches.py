"""Caches: what they are called, which are read, who may write them, and what is made of every kind of answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.build import cache_refs, caches, inputs
from ci.build.bake import Helped, Order, spoilt
from ci.build.cache_keep import wanted
from ci.build.cache_look import look
from ci.build.cache_refs import Ref, Shelf
from ci.build.inputs import RECIPE
from ci.build.plan import TierPlan
from ci.build.progress import Progress
from ci.build.record import Records
from ci.build.scope import ALONE, Scope, Trust
from ci.build.workspace import Workspace
from ci.errors import ConfigError
from ci.names import ContentTag, Place, cache_tag
from ci.recipe import stack as stacks
from ci.recipe.caching import Policy, policy
from ci.recipe.stack import Stack
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.world.buildx import Baked
from ci.world.engine import Endpoint
from ci.world.fakes import FakeClock, FakeEngine
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.process import Command, Finished
from ci.world.registry import Registry, digest_of
from tests import recipes
from tests.unit.test_plan import World
from tests.unit.test_progress import NAMES, SAMPLES, read
from tests.unit.test_vllm_stack import arguments, locked, source
from tests.unit.test_vllm_stack import planned as whole

TEAM, SCRATCH = Place("registry.example", "team"), Place("registry.example", "scratch/pr-1")
CI = {"BUILDKITE": "true", "BUILDKITE_REPO": "https://git.example/a/b.git", "BUILDKITE_PULL_REQUEST": "false"}
__all__ = ["locked", "source"]

OUTSIDER = Scope(Trust.UNTRUSTED, "a fork")

# --- names --------------------------------------------------------------------------------------

TIERS = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,4}", fullmatch=True)
ARCHS = st.lists(st.text("GPU_=gfx942;a0", max_size=12), max_size=3)
BRANCHES = st.one_of(
    st.text(min_size=1, max_size=300),
    st.from_regex(r"[A-Za-z0-9._/-]{1,140}", fullmatch=True),
    st.from_regex(r"[a-z]{1,60}-[0-9a-f]{32}", fullmatch=True),
)
FULL = st.tuples(TIERS, ARCHS, BRANCHES)


@given(FULL)
def test_every_branch_has_a_legal_name(full: tuple[str, list[str], str]) -> None:
    name = cache_tag(*full)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", name)
    assert name == cache_tag(full[0], full[1][::-1], full[2]), "the order of the lists does not count"
    assert ContentTag.parse(name) is None, "nor is it ever that of some inputs"


@given(FULL, FULL)
def test_no_two_branches_share_a_name(one: tuple[str, list[str], str], other: tuple[str, list[str], str]) -> None:
    same = (one[0], sorted(one[1]), one[2]) == (other[0], sorted(other[1]), other[2])
    assert (cache_tag(*one) == cache_tag(*other)) == same


@pytest.mark.parametrize("branch", ["feature/x", "a" * 300, "ümlaut", "feature-x", "feature x", ""])
def test_a_name_that_was_changed_is_none_that_somebody_can_choose(branch: str) -> None:
    """Not even a branch that is called as the changed name reads."""
    name = cache_tag("test", [], branch)
    chosen = name.partition("_")[2].partition("_")[2]
    assert (cache_tag("test", [], chosen) == name) == (chosen == branch)


def test_a_plain_branch_can_be_read() -> None:
    assert re.fullmatch(r"ci-base_[0-9a-f]{12}_releases-1.2", cache_tag("ci-base", ["A=gfx942"], "releases-1.2"))


# --- the policy ---------------------------------------------------------------------------------

CACHES = """\
caches:
  backends: [registry, s3, folder]
  sources: [content, "component:native", branch, upstream]
  upstream: main
  bucket: s3://bucket/pre/fix
components:
  native: {dockerfile: Dockerfile.tiny, target: base, base: ROOT}
"""


def refused(tmp_path: Path, old: str, new: str) -> list[tuple[str, int]]:
    assert old in CACHES
    path = recipes.write(tmp_path, stack=recipes.STACK + CACHES.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        stacks.load(str(path))
    return [(problem.reference, problem.place.line if problem.place else 0) for problem in caught.value.problems]


BEGIN = recipes.STACK.count("\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("component:native", "component:nativ", ("unknown-component", BEGIN + 3)),
        ("  upstream: main\n", "", ("half-a-cache", BEGIN + 1)),
        (", upstream]", "]", ("half-a-cache", BEGIN + 1)),
        ("  bucket: s3://bucket/pre/fix\n", "", ("half-a-cache", BEGIN + 1)),
        (", branch,", ", branch, branch,", ("given-twice", BEGIN + 3)),
        ("[registry,", "[registry, registry,", ("given-twice", BEGIN + 2)),
        ("[registry,", "[gha,", ("wrong-value", BEGIN + 2)),
        ("[content,", "[newest,", ("wrong-value", BEGIN + 3)),
        ("s3://bucket", "https://bucket", ("wrong-value", BEGIN + 5)),
        ("[registry, s3, folder]", "[]", ("too-few", BEGIN + 2)),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_at_its_place(
    tmp_path: Path, old: str, new: str, problem: tuple[str, int]
) -> None:
    assert problem in refused(tmp_path, old, new)


def test_a_stack_without_a_policy_keeps_caches_in_the_registry() -> None:
    assert policy({}) == Policy(("registry",), ("content", "branch"), "", "")


@pytest.mark.parametrize("name", stacks.shipped())
def test_the_shipped_policies_hold(name: str) -> None:
    found = policy(stacks.load(name).caches)
    assert found.backends[0] == "registry"
    assert found.sources[0] == "content"
    assert found.upstream == "main"


# --- places -------------------------------------------------------------------------------------


def work(tmp_path: Path, environ: Mapping[str, str] | None = None, **changes: Any) -> Workspace:
    """A trusted run with a registry; ``changes`` as of ``Workspace``."""
    if not (tmp_path / "recipe").exists():
        recipes.write(tmp_path, stack=recipes.STACK + CACHES)
    settings = capture({}, environ or {})
    stack = stacks.load(str(tmp_path / "recipe/tiny.yaml"))
    args = planned(tmp_path)[0]
    engine = FakeEngine(Endpoint("unix:///nowhere", "test"))
    made = Workspace(
        settings, stack, args, trees(tmp_path), engine, TEAM, None, tmp_path, Records(tmp_path), FakeClock(), TEAM
    )
    return replace(made, **changes)


def trees(tmp_path: Path) -> Any:
    return {
        RECIPE: Tree(RECIPE, tmp_path / "recipe", {}, lambda _root: None),
        "src": Tree("src", tmp_path / "src", {}, lambda _root: None),
    }


def planned(tmp_path: Path, tier: str = "base") -> tuple[Any, TierPlan]:
    stack = stacks.load(str(tmp_path / "recipe/tiny.yaml"))
    plan = World(tmp_path).plan("test", everything=True)
    found = next(each for each in plan.tiers if each.name == tier)
    return resolve_args(stack, capture({}, {}), stacks.archs()), found


def shown(run: Workspace, *, push: bool) -> list[tuple[str, bool]]:
    return [(shelf.root, shelf.writes) for shelf in caches.shelves(run, push=push)]


OURS, THEIRS = "registry.example/team/rocm-ci-test/tiny/cache", "registry.example/scratch/pr-1/rocm-ci-test/tiny/cache"
FOLDER = {"ROCM_CI_CACHE_FOLDER": "/var/cache/builds"}


def test_who_reads_and_who_writes(tmp_path: Path) -> None:
    folder = "/var/cache/builds"
    trusted = work(tmp_path, FOLDER)
    assert shown(trusted, push=True) == [(OURS, True), (folder, True)]
    assert shown(trusted, push=False) == [(OURS, False), (folder, True)]
    fork = replace(trusted, writes=SCRATCH, scope=OUTSIDER)
    assert shown(fork, push=True) == [(THEIRS, True), (OURS, False), (folder, False)]
    nobody = replace(trusted, writes=None, scope=OUTSIDER)
    assert shown(nobody, push=True) == [(OURS, False), (folder, False)]
    assert shown(replace(trusted, place=None, writes=None), push=False) == [(folder, True)]


def other_builder(tmp_path: Path) -> dict[str, str]:
    """The variables of a run whose builder is one of its own."""
    instances = tmp_path / "docker/buildx/instances"
    instances.mkdir(parents=True)
    (instances / "far").write_text(
        json.dumps({"Name": "far", "Driver": "remote", "Nodes": [{"Endpoint": "tcp://far"}]})
    )
    return {"DOCKER_CONFIG": str(tmp_path / "docker"), "ROCM_CI_BUILDER": "far"}


def test_a_bucket_needs_another_builder_and_trust(tmp_path: Path) -> None:
    far = work(tmp_path, other_builder(tmp_path))
    bucket = "s3://bucket/pre/fix"
    assert shown(far, push=True) == [(OURS, True), (bucket, True)]
    assert shown(far, push=False) == [(OURS, False), (bucket, False)]
    fork = replace(far, writes=SCRATCH, scope=OUTSIDER)
    assert (bucket, False) in shown(fork, push=True)
    assert (bucket, False) in shown(replace(far, scope=replace(ALONE, withheld="no credentials")), push=True)
    own = work(tmp_path)
    assert bucket not in dict(shown(own, push=True))
    assert "no S3 cache" in caches.choose(own, planned(tmp_path)[1], lambda _host: silent()).notes[0]


# --- what is read -------------------------------------------------------------------------------


class Shelved:
    """A registry of caches: name → document of its manifest, or an answer that is none."""

    def __init__(self, there: Mapping[str, Response | bytes | Unreachable]) -> None:
        self.there = there
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append(request.url)
        name = request.url.rpartition("/")[2]
        if "/blobs/" in request.url:
            return response(CONFIG) if name == digest_of(CONFIG) else missing("BLOB_UNKNOWN")
        found = self.there.get(name, missing("MANIFEST_UNKNOWN"))
        if isinstance(found, Unreachable):
            raise found
        return response(found, MANIFEST) if isinstance(found, bytes) else found

    def registry(self, host: str) -> Registry:
        return Registry(host, send=self, clock=FakeClock(), credentials=lambda _host: None, attempts=1)


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b'{"layers": []}'


def document(config: bytes = CONFIG, kind: str = "application/vnd.buildkit.cacheconfig.v0") -> bytes:
    described = {"mediaType": kind, "digest": digest_of(config), "size": len(config)}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}).encode()


def response(body: bytes, kind: str = "application/octet-stream") -> Response:
    return Response(200, Headers({"Content-Type": kind, "Docker-Content-Digest": digest_of(body)}), body)


def missing(code: str) -> Response:
    api = {"Docker-Distribution-Api-Version": "registry/2.0", "Content-Type": "application/json"}
    return Response(404, Headers(api), json.dumps({"errors": [{"code": code}]}).encode())


def silent() -> Registry:
    return Shelved({}).registry("registry.example")


def names(run: Workspace, tier: TierPlan) -> dict[str, str]:
    found = caches.names(run, tier)
    return dict(zip(("content", "native", "branch", "upstream"), found, strict=False))


def test_what_the_sources_are_called(tmp_path: Path) -> None:
    run = work(tmp_path, {**CI, "BUILDKITE_BRANCH": "feature/x"})
    _, tier = planned(tmp_path)
    found = names(run, tier)
    assert found["content"] == f"base-v1-{tier.identity}"
    assert found["native"].startswith("native-v1-")
    assert found["branch"].startswith("base_")
    assert re.search("_feature-x-[0-9a-f]{32}$", found["branch"])
    assert found["upstream"].endswith("_main")
    at_home = work(tmp_path, {**CI, "BUILDKITE_BRANCH": "main"})
    assert list(names(at_home, tier).values()) == [found["content"], found["native"], found["upstream"]]
    assert caches.branch(work(tmp_path)) == "", "nobody guesses a branch"


def test_other_arch_lists_are_other_caches_of_a_branch(tmp_path: Path) -> None:
    run = work(tmp_path)
    _, tier = planned(tmp_path)
    other = tier.inputs._replace(args=(("PYTORCH_ROCM_ARCH", "gfx950"),))
    assert caches.branch_name(run, tier.inputs, "main") != caches.branch_name(run, other, "main")
    coloured = tier.inputs._replace(args=(*tier.inputs.args, ("COLOUR", "red")))
    assert caches.branch_name(run, tier.inputs, "main") == caches.branch_name(run, coloured, "main")


def test_a_component_is_looked_for_where_a_tier_is_made_from_it(tmp_path: Path) -> None:
    run = work(tmp_path)
    base, child = planned(tmp_path)[1], planned(tmp_path, "ci-base")[1]
    before = caches.components(run, base)["native"].manifest
    assert before
    assert "native" not in caches.components(run, child), "its parent is an image, not the stage"
    (tmp_path / "recipe/first.txt").write_text("a file that the component does not take")
    again = caches.components(work(tmp_path), planned(tmp_path)[1])["native"].manifest
    assert again
    assert again.identity == before.identity
    (tmp_path / "recipe/lists/needs.txt").write_text("one that it takes")
    other = caches.components(work(tmp_path), planned(tmp_path)[1])["native"].manifest
    assert other
    assert other.identity != before.identity


def parts(stack: Stack, source: Path) -> dict[str, dict[str, str]]:
    """Component → tier → what its cache is called there, for the components that the policy names."""
    args = arguments(stack)
    folders = {
        RECIPE: Tree(RECIPE, stack.recipe, {}, lambda _root: None),
        "vllm": Tree("vllm", source, {}, lambda _root: None),
    }
    found: dict[str, dict[str, str]] = {name: {} for name in policy(stack.caches).components}
    for tier in whole(stack, source).tiers:
        for name, rows in found.items():
            if made := inputs.part(stack, tier.inputs, stack.components[name], args, folders):
                rows[tier.name] = caches.content_name(made)
    return found


def test_the_production_stack_shares_its_native_build_over_tiers_and_edits(locked: Stack, source: Path) -> None:
    found = parts(locked, source)
    assert all(found.values()), "a component that no tier is made from"
    assert {"wheel", "test", "release"} <= set(found["csrc"])
    assert all(len(set(rows.values())) == 1 for rows in found.values()), "one cache, whichever tier reads it"
    (source / "vllm/engine.py").write_text("an edit of Python alone\n")
    again = parts(locked, source)
    assert again == found
    (source / "csrc/kernel.hip").write_text("an edit of a kernel\n")
    assert {name for name, rows in parts(locked, source).items() if rows != found[name]} == {"csrc"}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), ()),
        (("upstream",), ("upstream",)),
        (("branch", "native"), ("native", "branch")),
        (("content", "native", "branch", "upstream"), ("content", "native", "branch")),
    ],
)
def test_the_first_three_that_are_there_are_read(
    tmp_path: Path, there: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    run = work(tmp_path, {**CI, "BUILDKITE_BRANCH": "x"})
    _, tier = planned(tmp_path)
    called = names(run, tier)
    shelved = Shelved({called[source]: document() for source in there})
    chosen = caches.choose(run, tier, shelved.registry)
    assert [ref.name for ref in chosen.refs] == [called[source] for source in expected]
    assert chosen.notes == ("no S3 cache: the engine's own builder has none; ROCM_CI_BUILDER names another",)


def test_of_one_source_the_first_place_that_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    run = work(tmp_path, {"ROCM_CI_CACHE_FOLDER": str(folder)})
    fork = replace(run, writes=SCRATCH, scope=OUTSIDER)
    _, tier = planned(tmp_path)
    content = names(run, tier)["content"]
    rows = [{"annotations": {"org.opencontainers.image.ref.name": content}}]
    (folder / "index.json").write_text(json.dumps({"manifests": rows}))
    empty, full = Shelved({}), Shelved({content: document()})
    assert [ref.shelf.root for ref in caches.choose(run, tier, empty.registry).refs] == [str(folder)]
    assert [ref.shelf.root for ref in caches.choose(run, tier, full.registry).refs] == [OURS]
    assert [ref.shelf.root for ref in caches.choose(fork, tier, full.registry).refs] == [THEIRS]
    (folder / "index.json").write_text("{")
    assert caches.choose(run, tier, empty.registry).refs == ()


REF = Ref(Shelf("registry", OURS, writes=False), "t")
PAGE = Response(200, Headers({"Content-Type": "text/html"}), b"<html>please log in</html>")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (document(), True),
        (missing("MANIFEST_UNKNOWN"), False),
        (Response(500), "500"),
        (Response(401, Headers({"WWW-Authenticate": "Basic"})), "401"),
        (PAGE, "text/html"),
        (Unreachable("timeout", "no answer"), "no answer"),
        (document(kind="application/vnd.oci.image.config.v1+json"), "no cache of BuildKit"),
        (document(b"a configuration that is gone"), "not whole"),
        (json.dumps({"schemaVersion": 2, "manifests": []}).encode(), "no cache of BuildKit"),
        (json.dumps({"schemaVersion": 2, "config": 7, "manifests": 9}).encode(), "not iterable"),
    ],
)
def test_only_what_can_be_read_is_there(answer: Response | bytes | Unreachable, told: bool | str) -> None:
    found = look([REF], FakeClock(), Shelved({"t": answer}).registry)[REF]
    if isinstance(told, bool):
        assert found is told
    else:
        assert isinstance(found, str)
        assert told in found


def test_what_could_not_be_told_is_left_out_and_said_once(tmp_path: Path) -> None:
    run = work(tmp_path, {**CI, "BUILDKITE_BRANCH": "x"})
    _, tier = planned(tmp_path)
    called = names(run, tier)
    ill = Shelved({called["content"]: Response(500), called["branch"]: Response(500), called["upstream"]: document()})
    chosen = caches.choose(run, tier, ill.registry)
    assert [ref.name for ref in chosen.refs] == [called["upstream"]]
    assert [note for note in chosen.notes if OURS in note and "left out" in note] == [chosen.notes[1]]


def test_a_registry_that_did_not_answer_the_plan_is_not_asked_for_caches(tmp_path: Path) -> None:
    shelved, run = Shelved({}), work(tmp_path)
    tier = planned(tmp_path)[1]
    caches.choose(run, replace(tier, decision="unknown"), shelved.registry)
    assert shelved.asked == []
    caches.choose(run, tier, shelved.registry)
    assert shelved.asked


# --- what is written ----------------------------------------------------------------------------


def items(run: Workspace, tier: TierPlan, *, push: bool) -> list[tuple[str, str, str, bool, bool]]:
    """(backend, name's beginning, mode, always, has a branch's name as well)."""
    return [
        (item.ref.shelf.backend, re.split("[_-]", item.ref.name)[0], item.mode, item.always, bool(item.branch))
        for item in wanted(run, Order(tier, {}), push=push)
    ]


def test_what_is_kept_and_where(tmp_path: Path) -> None:
    branch = {**CI, "BUILDKITE_BRANCH": "x"}
    run = work(tmp_path, {**FOLDER, **branch})
    _, tier = planned(tmp_path)
    whole, part = ("registry", "base", "max", False, True), ("registry", "native", "min", False, False)
    kept, piece = ("folder", "base", "max", True, False), ("folder", "native", "min", False, False)
    assert items(run, tier, push=True) == [whole, kept, part, piece]
    assert items(run, tier, push=False) == [kept, piece]
    fork = replace(run, writes=SCRATCH, scope=OUTSIDER)
    assert items(fork, tier, push=True) == [whole, part]
    assert {item.ref.shelf.root for item in wanted(fork, Order(tier, {}), push=True)} == {THEIRS}
    assert items(replace(run, writes=None, scope=OUTSIDER), tier, push=True) == []
    nameless = items(work(tmp_path, FOLDER), tier, push=True)
    assert nameless == [(*whole[:4], False), (*kept[:3], False, False), part, piece]


# --- buildx's words -----------------------------------------------------------------------------

AWS = {"AWS_REGION": "eu-1", "AWS_ENDPOINT_URL": "http://s3:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def test_how_buildx_hears_of_them() -> None:
    settings = capture({}, AWS)
    bucket = Ref(Shelf("s3", "s3://bucket/pre", writes=True), "n")
    folder = Ref(Shelf("folder", '/a "b", c', writes=True), "n")
    assert cache_refs.source(REF, settings) == f"type=registry,ref={OURS}:t"
    assert cache_refs.target(REF, settings, "max") == f"type=registry,ref={OURS}:t,mode=max,ignore-error=true"
    words = "type=s3,bucket=bucket,name=n,prefix=pre/,region=eu-1,endpoint_url=http://s3:1,use_path_style=true"
    assert cache_refs.source(bucket, settings) == words
    assert cache_refs.source(folder, settings) == 'type=local,"src=/a ""b"", c",tag=n'
    assert cache_refs.target(folder, settings, "min").startswith('type=local,"dest=/a ""b"", c",tag=n,mode=min')
    assert cache_refs.environment([bucket], settings) == {name: AWS[name] for name in list(AWS)[2:]}
    assert cache_refs.environment([REF, folder], settings) == {}, "who needs no credentials gets none"
    assert cache_refs.folders([REF, folder, bucket, folder]) == ('/a "b", c',)


# --- what BuildKit tells ------------------------------------------------------------------------


def test_a_layer_that_does_not_come_is_noticed_while_it_does_not() -> None:
    progress, _ = read("cache-layer-hangs", 0)
    seen = []
    for line in (SAMPLES / "cache-layer-hangs.jsonl").read_text().splitlines():
        progress.feed(line)
        seen.append(progress.stalled)
    assert 8 < max(seen) < 10, "seconds of the record"
    assert seen[-1] == 0, "the vertex has ended"
    assert not progress.executing


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cache-layer-hangs"])
def test_nothing_else_looks_like_that(name: str) -> None:
    progress, _ = read(name, 0)
    for line in (SAMPLES / f"{name}.jsonl").read_text().splitlines():
        progress.feed(line)
        assert progress.stalled < 2


IMPORTED = json.dumps(
    {"vertexes": [{"digest": "i", "name": "importing cache manifest from r:t", "started": "2026-01-01T00:00:00Z"}]}
)
"""What BuildKit says when it begins to read a cache."""


@pytest.mark.parametrize(
    ("name", "read", "blamed"),
    [
        ("failing-run", True, False),
        ("out-of-memory", True, False),
        ("disk-full", True, False),
        ("cached", True, False),
        ("pull-failed", True, True),
        ("pull-failed", False, False),
        ("parse-error", False, False),
    ],
)
def test_an_end_of_the_products_own_is_not_blamed_on_a_cache(name: str, read: bool, blamed: bool) -> None:
    progress = Progress()
    for line in (*([IMPORTED] if read else []), *(SAMPLES / f"{name}.jsonl").read_text().splitlines()):
        progress.feed(line)
    baked = Baked(Finished(Command(("docker",)), 0 if name == "cached" else 1, "", ""), {})
    assert bool(spoilt(progress, baked, Helped((REF,)))) == blamed
    assert not spoilt(progress, baked, Helped()), "none was read"


def test_a_full_disk_is_no_reason_to_fill_it_again() -> None:
    baked = Baked(Finished(Command(("docker",)), 1, "", ""), {})
    for words, blamed in (("failed to copy: no space left on device", False), ("failed to copy: EOF", True)):
        progress = Progress()
        progress.feed(IMPORTED)
        progress.feed(f"ERROR: failed to build: {words}")
        assert bool(spoilt(progress, baked, Helped((REF,)))) == blamed
