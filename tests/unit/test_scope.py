"""Who may write what trusted builds read: the policy, the scope of everybody else, and what credentials say."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.build.lookup import SCOPE, Found
from ci.build.plan import Plan
from ci.build.record import Records
from ci.build.scope import ALONE, Reach, Scope, Trust, demand_trusted, judge, lines, overrides, reach, settled, watch
from ci.build.workspace import Workspace
from ci.doctor.trust import look_at_trust
from ci.documents import SCHEMA_KEYWORDS
from ci.errors import ConfigError, ContractError, InfraError, InternalError
from ci.names import SCOPE_LENGTH, Place, Reference, scope_name
from ci.providers import policy as policies
from ci.providers.facts import Facts
from ci.providers.policy import Policy, policy_of, read
from ci.recipe import stack as stacks
from ci.recipe.values import resolve_args
from ci.settings import capture, problems
from ci.world.credentials import Credentials
from ci.world.fakes import FakeClock, FakeEngine, FakeSend
from ci.world.guests import note
from ci.world.http import Headers, Request, Response
from ci.world.registry import Registry
from tests import recipes
from tests.unit.test_doctor import case
from tests.unit.test_providers import BUILDKITE, FORK, GITHUB, OWN

TEXT = """\
schema: 1
trusted:
  registry: registry.example/team
  sources:
    - provider: buildkite
      repository: github.com/team/project
      branches: [main, releases/*]
      tags: [v*]
untrusted:
  registry: registry.example/team-scratch
"""
TEAM = Place("registry.example", "team")
MAIN = Facts("buildkite", OWN, OWN, branch="main")
PULL = Facts("buildkite", OWN, FORK, branch="main", pull_request="12")


def policy(text: str = TEXT) -> Policy:
    return read(text, "/etc/rocm-ci/policy.yaml")


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        policy(text)
    return [problem.reference for problem in caught.value.problems]


# --- the policy ---------------------------------------------------------------------------


def test_a_policy_reads_as_it_is_written() -> None:
    found = policy()
    assert (found.trusted, found.scratch) == (TEAM, Place("registry.example", "team-scratch"))
    (source,) = found.sources
    assert (source.branches, source.tags, str(source.place)) == (
        ("main", "releases/*"),
        ("v*",),
        "/etc/rocm-ci/policy.yaml:5:7",
    )


def test_the_policy_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/trust.md").read_text()
    shown = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert shown
    assert policy(shown[1]).source(MAIN)


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("schema: 1", "schema: 2", "wrong-value"),
        ("branches: [main", "branchs: [main", "unknown-key"),
        ("provider: buildkite", "provider: jenkins", "wrong-value"),
        ("repository: github.com/team/project", "repository: git@github.com:team/project", "wrong-value"),
        ("repository: github.com/team/project", "repository: project", "wrong-value"),
        ("repository: github.com/team/project", "repository: team/project", "wrong-value"),
        ("repository: github.com/team/project", "repository: GitHub.com/team/project", "wrong-value"),
        ("repository: github.com/team/project", "repository: github.com/team/project.git", "wrong-value"),
        ("      branches: [main, releases/*]\n      tags: [v*]\n", "", "policy-idle"),
        ("registry: registry.example/team\n", "registry: team\n", "bad-registry"),
        ("registry: registry.example/team-scratch", "registry: registry.example/team", "policy-overlap"),
        ("registry: registry.example/team-scratch", "registry: registry.example/team/scratch", "policy-overlap"),
        ("registry: registry.example/team\n", "registry: registry.example/team-scratch/a\n", "policy-overlap"),
        ("registry: registry.example/team\n", "registry: registry.example\n", "policy-overlap"),
        ("registry: registry.example/team-scratch", "registry: Registry.example/team/x", "policy-overlap"),
        ("registry: registry.example/team-scratch", "registry: registry.example:443/team/x", "policy-overlap"),
        ("branches: [main, releases/*]", "branches: []", "too-few"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(old: str, new: str, reference: str) -> None:
    assert old in TEXT
    assert refused(TEXT.replace(old, new)) == [reference]


def test_namespaces_with_a_common_beginning_do_not_lie_in_each_other() -> None:
    assert not TEAM.holds(Place("registry.example", "team-scratch"))
    assert not TEAM.holds(Place("other.example", "team"))
    assert TEAM.holds(TEAM)
    assert TEAM.holds(TEAM.within("x"))


def on(trusted: str, scratch: str) -> str:
    """The policy with its two places on these hosts, where one would lie in the other if the hosts were one."""
    text = TEXT.replace("registry.example/team-scratch", f'"{scratch}/team/x"')
    return text.replace("registry.example/team\n", f'"{trusted}/team"\n')


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("docker.io", "index.docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "127.0.0.1:5000"),
        ("[::1]:5000", "localhost:5000"),
        ("127.0.0.1", "localhost:443"),
        ("127.0.0.1:5000", "[0:0:0:0:0:0:0:1]:5000"),
    ],
)
def test_all_names_of_one_registry_are_one(one: str, other: str) -> None:
    assert refused(on(one, other)) == ["policy-overlap"]
    assert refused(on(other, one)) == ["policy-overlap"]


@pytest.mark.parametrize("other", ["127.0.0.1:5001", "10.0.0.1:5000", "[::2]:5000", "localhost.example:5000"])
def test_registries_beside_each_other_are_two(other: str) -> None:
    assert policy(on("localhost:5000", other)).trusted.host == "localhost:5000"


def test_its_schema_uses_only_the_keywords_we_check() -> None:
    schema = json.loads((stacks.HOME / "policy.schema.json").read_text())
    words = re.findall(r'"([$a-zA-Z]+)":', json.dumps(schema))
    ours = {"trusted", "untrusted", "registry", "sources", "provider", "repository", "branches", "tags", "schema"}
    assert set(words) - ours - {"place", "source"} <= SCHEMA_KEYWORDS


class Host:
    """A host with or without a policy of its own, and a checkout."""

    def __init__(self, folder: Path) -> None:
        self.own = folder / "etc/policy.yaml"
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        self.own.parent.mkdir()

    def policy(self, **environ: str) -> Policy | None:
        return policy_of(capture({}, environ), lambda: (self.checkout,), self.own)

    def refused(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            self.policy(ROCM_CI_POLICY=str(path))
        return caught.value.problems[0].reference


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_without_a_policy_has_none(host: Host) -> None:
    assert host.policy() is None
    host.own.write_text(TEXT)
    found = host.policy()
    assert found is not None
    assert found.file == str(host.own)


def test_a_policy_that_is_named_must_be_there(host: Host, tmp_path: Path) -> None:
    assert host.refused(tmp_path / "nowhere.yaml") == "no-file"
    with pytest.raises(ConfigError, match=r"ROCM_CI_POLICY names .*nowhere\.yaml"):
        host.policy(ROCM_CI_POLICY=str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize("value", ["", " "])
def test_a_policy_that_is_set_to_nothing_is_no_policy_that_lacks(host: Host, value: str) -> None:
    """The same words as those of the settings, which are told once; an empty name trusts nobody."""
    given = capture({}, {"ROCM_CI_POLICY": value})
    with pytest.raises(ConfigError) as caught:
        policy_of(given, lambda: (host.checkout,), host.own)
    assert caught.value.problems == problems(given)


def test_a_policy_of_the_host_that_cannot_be_read_is_not_none(host: Host, tmp_path: Path) -> None:
    host.own.symlink_to(tmp_path / "unmounted/policy.yaml")
    with pytest.raises(ConfigError):
        host.policy()
    host.own.unlink()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    host.own = tmp_path / "loop/policy.yaml"
    with pytest.raises(ConfigError):
        host.policy()


def test_what_the_code_under_test_can_write_is_no_policy(host: Host, tmp_path: Path) -> None:
    inside = host.checkout / "ci/policy.yaml"
    inside.parent.mkdir()
    inside.write_text(TEXT)
    assert host.refused(inside) == "policy-inside"
    link = tmp_path / "outside.yaml"
    link.symlink_to(inside)
    assert host.refused(link) == "policy-inside"
    outside = tmp_path / "other.yaml"
    outside.write_text(TEXT)
    into = host.checkout / "link.yaml"
    into.symlink_to(outside)
    assert host.refused(into) == "policy-inside"
    assert host.refused(host.checkout / ".." / "checkout/ci/policy.yaml") == "policy-inside"
    assert host.refused(Path("policy.yaml")) == "policy-relative"
    assert host.policy(ROCM_CI_POLICY=str(outside)) is not None


def test_a_checkout_that_is_reached_by_a_link_is_a_checkout(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "policy.yaml").write_text(TEXT)
    linked = tmp_path / "linked"
    linked.symlink_to(real)
    with pytest.raises(ConfigError):
        policy_of(capture({}, {"ROCM_CI_POLICY": str(real / "policy.yaml")}), lambda: (linked,), host.own)


def test_no_variable_names_another_policy_than_the_hosts(host: Host, tmp_path: Path) -> None:
    host.own.write_text(TEXT)
    other = tmp_path / "other.yaml"
    other.write_text(TEXT)
    assert host.refused(other) == "two-policies"
    assert host.policy(ROCM_CI_POLICY=str(host.own)) is not None


# --- who is trusted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "trust"),
    [
        (MAIN, Trust.TRUSTED),
        (MAIN._replace(branch="releases/1.2"), Trust.TRUSTED),
        (MAIN._replace(branch="", tag="v1.0"), Trust.TRUSTED),
        (MAIN._replace(branch="main2"), Trust.UNTRUSTED),
        (MAIN._replace(branch="MAIN"), Trust.UNTRUSTED),
        (MAIN._replace(branch="x/main"), Trust.UNTRUSTED),
        (MAIN._replace(branch="v1"), Trust.UNTRUSTED),
        (MAIN._replace(branch=""), Trust.UNTRUSTED),
        (MAIN._replace(branch="", tag="main"), Trust.UNTRUSTED),
        (MAIN._replace(provider="github"), Trust.UNTRUSTED),
        (MAIN._replace(repository=FORK, source=FORK), Trust.UNTRUSTED),
        (MAIN._replace(unclear="not told"), Trust.UNTRUSTED),
        (PULL, Trust.UNTRUSTED),
        (PULL._replace(source=OWN), Trust.UNTRUSTED),
        (None, Trust.UNTRUSTED),
    ],
)
def test_a_policy_trusts_what_it_names_and_nothing_else(facts: Facts | None, trust: Trust) -> None:
    scope = judge(facts, policy())
    assert (scope.trust, scope.bound) == (trust, trust is Trust.TRUSTED)
    assert scope.why


def test_a_merge_queue_is_trusted_where_the_policy_names_its_branches() -> None:
    """Its code is the repository's own and not yet that of the branch it is for."""
    from ci.providers import github

    environ = {
        "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "team/project",
        "GITHUB_EVENT_NAME": "merge_group", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-12-0193",
    }  # fmt: skip
    facts = github.facts(environ, {"merge_group": {"base_ref": "refs/heads/main"}})
    text = TEXT.replace("provider: buildkite", "provider: github")
    scope = judge(facts, read(text, "policy.yaml"))
    assert (scope.trust, bool(scope.name)) == (Trust.UNTRUSTED, True)
    named = read(text.replace("[main,", "[main, gh-readonly-queue/main/*,"), "policy.yaml")
    assert judge(facts, named).trust is Trust.TRUSTED
    assert judge(facts, None).bound


def test_no_line_matches_facts_that_are_unclear() -> None:
    assert policy().source(MAIN) is not None
    assert policy().source(MAIN._replace(unclear="not told")) is None


def test_what_decided_is_said() -> None:
    assert str(judge(MAIN, policy())) == f"trusted: buildkite: branch main of {OWN} (/etc/rocm-ci/policy.yaml:5:7)"
    said = f"untrusted: buildkite: pull request 12 of {OWN}, from {FORK} (/etc/rocm-ci/policy.yaml: a pull request)"
    assert str(judge(PULL, policy())) == said


@pytest.mark.parametrize(
    ("facts", "in_ci", "trust", "bound"),
    [
        (None, False, Trust.TRUSTED, False),
        (None, True, Trust.TRUSTED, True),
        (MAIN, True, Trust.TRUSTED, True),
        (PULL, True, Trust.UNTRUSTED, False),
        (PULL._replace(source=OWN), True, Trust.UNTRUSTED, False),
        (MAIN._replace(unclear="not told"), True, Trust.UNTRUSTED, False),
    ],
)
def test_without_a_policy_a_pull_request_is_untrusted_and_credentials_decide_the_rest(
    facts: Facts | None, in_ci: bool, trust: Trust, bound: bool
) -> None:
    scope = judge(facts, None, in_ci=in_ci)
    assert (scope.trust, scope.bound, scope.name) == (trust, bound, "")


@pytest.fixture
def place_of(tmp_path: Path) -> Callable[..., Reach]:
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT)

    def reached(environ: Mapping[str, str], given: Place | None = None, *, with_policy: bool = True) -> Reach:
        named = {"ROCM_CI_POLICY": str(file)} if with_policy else {}
        return reach(capture({}, {**environ, **named}), given, lambda: (), tmp_path / "none.yaml")

    return reached


PULLED = {
    **BUILDKITE,
    "BUILDKITE_PULL_REQUEST": "12",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/somebody/project",
}


def test_everybody_reads_the_trusted_place_and_writes_in_his_own(place_of: Callable[..., Reach]) -> None:
    assert place_of(BUILDKITE)[1:] == (TEAM, TEAM)
    assert place_of(BUILDKITE, TEAM)[1:] == (TEAM, TEAM)
    scope, reads, writes = place_of(PULLED)
    assert reads == TEAM
    assert writes == Place("registry.example", f"team-scratch/{scope.name}")
    assert scope.name.startswith("pr-12-somebody-project-")
    assert not TEAM.holds(writes)
    assert lines(Reach(scope, reads, writes))[1] == f"reads {TEAM}, writes {writes}"
    nobody = place_of({})
    assert nobody[1:] == (TEAM, None)
    assert lines(nobody)[1] == f"reads {TEAM}, writes nowhere"


def test_without_a_policy_an_untrusted_run_writes_nowhere(place_of: Callable[..., Reach]) -> None:
    assert place_of(BUILDKITE, TEAM, with_policy=False)[1:] == (TEAM, TEAM)
    assert place_of(PULLED, TEAM, with_policy=False)[1:] == (TEAM, None)
    assert place_of({}, TEAM, with_policy=False) == Reach(ALONE, TEAM, TEAM)
    odd = {**GITHUB, "GITHUB_EVENT_NAME": "workflow_run"}
    assert place_of(odd, TEAM, with_policy=False)[1:] == (TEAM, None)


def test_no_option_leads_a_build_to_another_registry_than_the_policys(place_of: Callable[..., Reach]) -> None:
    for environ in (BUILDKITE, PULLED):
        with pytest.raises(ConfigError) as caught:
            place_of(environ, Place("registry.example", "team-scratch/pr-1"))
        assert caught.value.problems[0].reference == "other-registry"


# --- scopes -------------------------------------------------------------------------------


def test_one_scope_for_each_pull_request_branch_and_tag_of_each_source() -> None:
    facts = [
        PULL,
        PULL._replace(pull_request="13"),
        PULL._replace(source="github.com/somebody-project/x"),
        PULL._replace(source="other.example/somebody/project"),
        PULL._replace(source=""),
        PULL._replace(provider="github"),
        PULL._replace(repository="github.com/team/other"),
        MAIN._replace(branch="12"),
        MAIN._replace(branch="", tag="12"),
        MAIN._replace(branch="feature/a"),
        MAIN._replace(branch="feature-a"),
    ]
    names = {judge(each, policy()).name for each in facts}
    assert len(names) == len(facts)
    assert judge(PULL._replace(branch="renamed", commit="b" * 40), policy()).name == judge(PULL, policy()).name


_TEXT = st.text(max_size=300)


@given(_TEXT, _TEXT, st.lists(_TEXT, min_size=1, max_size=4))
def test_a_scopes_name_is_legal_and_bounded(kind: str, shown: str, full: list[str]) -> None:
    name = scope_name(kind, shown, full)
    assert len(name) <= SCOPE_LENGTH
    path = Place("registry.example", "scratch").within(name).repository("rocm-ci/local")
    assert Reference.parse(str(path)).path == f"scratch/{name}/rocm-ci/local"
    assert name == scope_name(kind, shown, list(full))


@given(st.lists(_TEXT, max_size=4), st.lists(_TEXT, max_size=4))
def test_no_two_scopes_have_one_name(one: list[str], other: list[str]) -> None:
    assert (scope_name("pr", "x", one) == scope_name("pr", "x", other)) == (one == other)


def test_a_long_name_is_cut_and_keeps_its_digest() -> None:
    long = scope_name("pr-12", "somebody/" + "x" * 200, ("a",))
    assert len(long) <= SCOPE_LENGTH
    assert long.rpartition("-")[2] == scope_name("", "", ("a",))


def test_parts_of_a_scopes_name_cannot_be_moved_between_each_other() -> None:
    assert scope_name("pr", "x", ("ab", "c")) != scope_name("pr", "x", ("a", "bc"))
    assert scope_name("pr", "x", ("a:1:b",)) != scope_name("pr", "x", ("a", "b"))


def test_only_a_trusted_run_may_do_what_everybody_sees() -> None:
    demand_trusted(judge(MAIN, policy()), "inv promote")
    demand_trusted(ALONE, "inv promote")
    with pytest.raises(ConfigError) as caught:
        demand_trusted(judge(PULL, policy()), "inv promote")
    problem = caught.value.problems[0]
    assert problem.reference == "untrusted"
    assert "inv promote" in problem.message
    assert "pull request 12" in problem.message
    assert "policy.yaml" in problem.message


# --- what the registry says ---------------------------------------------------------------

JSON = {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0"}
DENIED = b'{"errors": [{"code": "DENIED", "message": "no"}]}'


class World:
    """A workspace whose registry says one thing to a push; ``said`` are the warnings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = stacks.load(str(recipes.write(folder)))
        self.status = 202
        self.said: list[str] = []
        self.asked: list[str] = []
        self.login: Credentials | None = None

    def answer(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.url}")
        headers = {**JSON, "Location": "/v2/upload/1"} if self.status == 202 else JSON
        return Response(self.status, Headers(headers), b"" if self.status == 202 else DENIED)

    def work(self, scope: Scope, writes: Place | None) -> Workspace:
        stack, settings = self.stack, capture({}, {})
        args = resolve_args(stack, settings, stacks.archs())
        at = Registry("localhost:5000", send=FakeSend(self.answer), clock=FakeClock(), credentials=lambda _: self.login)
        place = Place("localhost:5000", "team")
        target = at if writes else None
        state = self.folder / "state"
        return Workspace(
            settings, stack, args, {}, FakeEngine(), place, at, state, Records(state), FakeClock(),
            writes, target, scope,
        )  # fmt: skip

    def settle(self, scope: Scope, writes: Place | None) -> Workspace:
        return settled(self.work(scope, writes), self.said.append, lambda _: self.login)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


CANONICAL, OWN_PLACE = Place("localhost:5000", "team"), Place("localhost:5000", "scratch/pr-1")
TRUSTED, UNTRUSTED = Scope(Trust.TRUSTED, "main", bound=True), Scope(Trust.UNTRUSTED, "a fork", name="pr-1")


@pytest.mark.parametrize("scope", [TRUSTED, UNTRUSTED, ALONE])
def test_who_may_push_pushes_where_he_may(world: World, scope: Scope) -> None:
    writes = OWN_PLACE if scope is UNTRUSTED else CANONICAL
    work = world.settle(scope, writes)
    assert (work.writes, work.scope, world.said) == (writes, scope, [])
    assert world.asked[0] == f"POST http://localhost:5000/v2/{writes.namespace}/rocm-ci-test/tiny/blobs/uploads/"
    if scope is UNTRUSTED:
        assert not [each for each in world.asked if "/v2/team/" in each]


@pytest.mark.parametrize("scope", [UNTRUSTED, ALONE])
def test_without_credentials_an_unbound_run_publishes_nothing_and_says_so(world: World, scope: Scope) -> None:
    world.status = 401
    work = world.settle(scope, OWN_PLACE if scope is UNTRUSTED else CANONICAL)
    assert (work.writes, work.target) == (None, None)
    assert work.place == CANONICAL
    assert work.scope.withheld == "there are no credentials for localhost:5000"
    (said,) = world.said
    assert said.startswith("nothing will be published: there are no credentials for localhost:5000; images are reused")


@pytest.mark.parametrize("login", [None, Credentials("bot", "secret")])
def test_a_right_that_is_promised_and_not_given_is_an_error(world: World, login: Credentials | None) -> None:
    world.status, world.login = 403, login
    with pytest.raises(InfraError) as caught:
        world.settle(TRUSTED, CANONICAL)
    problem = caught.value.problems[0]
    assert problem.reference == "registry-push-denied"
    assert "docker login localhost:5000" in problem.hint
    assert problem.context == "this run is trusted: main"


@pytest.mark.parametrize("scope", [UNTRUSTED, ALONE])
def test_credentials_that_are_not_good_enough_are_no_read_only_run(world: World, scope: Scope) -> None:
    world.status, world.login = 403, Credentials("bot", "secret")
    with pytest.raises(InfraError) as caught:
        world.settle(scope, OWN_PLACE if scope is UNTRUSTED else CANONICAL)
    assert caught.value.problems[0].reference == "registry-push-denied"


@pytest.mark.parametrize("scope", [TRUSTED, UNTRUSTED, ALONE])
def test_a_registry_that_cannot_be_asked_is_no_refusal(world: World, scope: Scope) -> None:
    world.status = 500
    with pytest.raises(InfraError) as caught:
        world.settle(scope, OWN_PLACE if scope is UNTRUSTED else CANONICAL)
    assert caught.value.problems[0].reference == "could-not-tell"


def test_a_run_with_no_scope_asks_nobody(world: World) -> None:
    work = world.settle(UNTRUSTED, None)
    assert work.writes is None
    assert "it has no scope to write to" in work.scope.withheld
    assert world.asked == []
    assert len(world.said) == 1


def test_credentials_that_cannot_be_read_are_not_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.status = 401
    (tmp_path / "config.json").write_text("{broken")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(InfraError) as caught:
        settled(world.work(ALONE, CANONICAL), world.said.append)
    assert caught.value.problems[0].reference == "credentials-unusable"


def test_what_is_found_in_a_scope_is_verified_there(world: World) -> None:
    world.status = 404
    work = world.work(UNTRUSTED, OWN_PLACE)
    digest = "sha256:" + "d" * 64
    tag = f"rocm-ci-test/tiny:base-v1-{'1' * 64}"
    with pytest.raises((InfraError, ContractError)):
        work.verify(Found(f"{OWN_PLACE}/{tag}@{digest}", digest, SCOPE), tag, "1" * 64)
    assert all("/v2/scratch/pr-1/" in each for each in world.asked if "/manifests/" in each)


def test_a_trusted_run_that_publishes_is_warned_of_untrusted_ones_on_its_host(world: World) -> None:
    def watched(scope: Scope, *, push: bool) -> list[str]:
        work = world.work(scope, None)
        work.state.mkdir(exist_ok=True)
        said: list[str] = []
        watch(work, said.append, push=push)
        return said

    assert watched(TRUSTED, push=True) == []
    assert watched(UNTRUSTED, push=False) == []
    (mark,) = (world.folder / "state").iterdir()
    assert mark.read_text() == "2026-01-01 00:00Z untrusted: a fork\n"
    assert mark.stat().st_mode & 0o777 == 0o644
    assert watched(replace(UNTRUSTED, why="another"), push=True) == []  # the first one is enough
    (said,) = watched(TRUSTED, push=True)
    assert str(mark) in said
    assert watched(TRUSTED, push=False) == []
    assert watched(ALONE, push=True) == []


# --- what keeps a plan from being promoted ------------------------------------------------


def plan_of(work: Workspace) -> Plan:
    return Plan(work.stack, ("base",), (), (), ())


@pytest.mark.parametrize(
    ("flags", "environ", "found"),
    [
        ({}, {}, ()),
        ({"--arch": "gfx942"}, {}, ()),  # what the stack has by itself is no override
        ({"--arch": "gfx950"}, {}, ("PYTORCH_ROCM_ARCH is gfx950 (flag --arch)",)),
        ({}, {"NIC_BACKEND": "all"}, ("NIC_BACKEND is all (environment)",)),
    ],
)
def test_an_argument_of_the_call_is_an_override(
    world: World, flags: dict[str, str], environ: dict[str, str], found: tuple[str, ...]
) -> None:
    work = world.work(ALONE, None)
    settings = capture(flags, environ)
    work = replace(work, settings=settings, args=resolve_args(work.stack, settings, stacks.archs()))
    assert overrides(work, plan_of(work)) == found


def test_a_folder_in_the_place_of_a_pinned_source_is_an_override(world: World) -> None:
    from ci.recipe.stack import Fetched
    from ci.recipe.tree import Tree

    work = world.work(ALONE, None)
    stack = replace(work.stack, fetched={"component": Fetched("component", "", "")})
    tree = Tree("component", Path("/somewhere"), {}, lambda _: None)
    work = replace(work, stack=stack, trees={"component": tree})
    assert overrides(work, plan_of(work)) == ("source component is the folder /somewhere instead of its pinned commit",)


def test_the_recipe_of_an_installed_tool_counts_as_its_wheel_brought_it(tmp_path: Path, world: World) -> None:
    from ci.recipe.tree import Tree

    home = tmp_path / "tool/recipe_data"
    (home / "scripts").mkdir(parents=True)
    tree = Tree("recipe", home, {}, lambda _: None)
    work = replace(world.work(ALONE, None), trees={"recipe": tree})

    def against() -> tuple[str, ...]:
        return overrides(work, plan_of(work), home)

    rows = []
    for name in ("a, b.yaml", "scripts/x.sh"):
        (home / name).write_text(name)
        digest = urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")
        rows.append(f'"tool/recipe_data/{name}",sha256={digest},{len(name)}\n')
    (unknown,) = against()
    assert "nobody can tell" in unknown
    for project, text in (("other-1", "other/x,sha256=0,1\n"), ("tool-1", "".join(rows))):
        record = tmp_path / f"{project}.dist-info/RECORD"
        record.parent.mkdir()
        record.write_text(f"{text}tool/recipe_data/__pycache__/x.pyc,,\n{project}.dist-info/RECORD,,\n")
    assert against() == ()
    (home / "scripts/x.sh").write_text("edited")
    assert against() == ("the recipe of the installed tool was changed: scripts/x.sh",)
    (home / "scripts/x.sh").unlink()
    (home / "scripts/new.sh").write_text("")
    assert against() == ("the recipe of the installed tool was changed: scripts/new.sh and 1 more",)


def test_the_hosts_policy_is_where_the_documentation_says() -> None:
    assert str(policies.HOST) == capture({}, {}).get("ROCM_CI_POLICY").value


def test_a_push_that_was_asked_for_never_ends_nowhere(world: World) -> None:
    from ci.build.perform import Performance, TierResult

    performance = Performance(world.work(UNTRUSTED, None), cast("Any", None), cast("Any", None), True, "stop")
    with pytest.raises(InternalError):
        performance._publish(cast("Any", None), TierResult("base", "build", ()))


# --- what doctor says ---------------------------------------------------------------------


def looked(tmp_path: Path, environ: Mapping[str, str], statuses: Mapping[str, int]) -> list[tuple[str, str]]:
    """Each finding's state and message; ``statuses`` are the registry's answers to a push, by namespace."""
    file = tmp_path / "etc/policy.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(TEXT.replace("registry.example", "localhost:5000"))

    def answer(request: Request) -> Response:
        if "/upload/1" in request.url:
            return Response(204, Headers(JSON), b"")
        status = statuses[request.url.split("/v2/")[1].split("/")[0]]
        headers = {**JSON, "Location": "/v2/upload/1"} if status == 202 else JSON
        return Response(status, Headers(headers), b"" if status == 202 else DENIED)

    (tmp_path / "checkout").mkdir(exist_ok=True)
    named = {"ROCM_CI_POLICY": str(file), **environ}
    patient = case(tmp_path, environ=named, send=FakeSend(answer), folder=tmp_path / "checkout")
    return [(each.state, each.message) for each in look_at_trust(patient)]


def test_doctor_shows_trust_and_what_decided_it(tmp_path: Path) -> None:
    ((state, message),) = looked(tmp_path, BUILDKITE, {"team": 202})
    assert state == "ok"
    assert message.startswith(f"trusted: buildkite: branch main of {OWN} (")
    assert message.endswith("reads localhost:5000/team, writes localhost:5000/team")


def test_doctor_warns_of_untrusted_runs_on_the_host_of_trusted_ones(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    note(tmp_path / "state", "a fork")
    assert [state for state, _ in looked(tmp_path, BUILDKITE, {"team": 202})] == ["ok", "warn"]
    assert [state for state, _ in looked(tmp_path, PULLED, {"team": 403, "team-scratch": 202})] == ["ok"]


def test_doctor_warns_of_a_right_that_is_promised_and_not_given(tmp_path: Path) -> None:
    found = looked(tmp_path, BUILDKITE, {"team": 403})
    assert [state for state, _ in found] == ["ok", "warn"]
    found = looked(tmp_path, BUILDKITE, {"team": 500})
    assert [state for state, _ in found] == ["ok", "fail"]


def test_doctor_warns_of_untrusted_credentials_that_write_what_trusted_builds_read(tmp_path: Path) -> None:
    assert [state for state, _ in looked(tmp_path, PULLED, {"team": 403, "team-scratch": 202})] == ["ok"]
    found = looked(tmp_path, PULLED, {"team": 202, "team-scratch": 202})
    assert [state for state, _ in found] == ["ok", "warn"]
    assert "may write localhost:5000/team, which trusted builds read" in found[1][1]


def test_doctor_does_not_call_a_host_ready_whose_builds_cannot_read(tmp_path: Path) -> None:
    found = looked(tmp_path, PULLED, {"team": 500, "team-scratch": 202})
    assert [state for state, _ in found] == ["ok", "fail"]
    assert "localhost:5000/team" in found[1][1]
    assert [state for state, _ in looked(tmp_path, {}, {"team": 500})] == ["ok", "fail"]
