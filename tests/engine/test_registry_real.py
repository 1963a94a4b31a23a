"""The registry client over real sockets: a server with faults, and a real registry."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.world.clock import SystemClock
from ci.world.credentials import Credentials, docker_credentials
from ci.world.http import Request, Timeouts, Unreachable, send
from ci.world.registry import Absent, Denied, Found, Granted, Registry, Unknown, digest_of
from tests import servers
from tests.engine.fault_server import fault_server
from tests.servers import kept_port
from tests.unit.registry_cases import CASES
from tests.unit.registry_replies import BODY, GOOD, OCI, PONG, USER, Case, Reply, on_head, outcome

# The bcrypt hash of USER's password; the registry accepts no other kind.
HTPASSWD = "ada:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"


class HastyClock(SystemClock):
    """Real time, but nobody waits between attempts."""

    def sleep(self, seconds: float) -> None:
        """Return at once."""


def client(url: str, user: Credentials | None = None, deadline: float = 30.0) -> Registry:
    return Registry(url, send=send, clock=HastyClock(), credentials=lambda _: user, deadline=deadline)


@pytest.mark.parametrize("case", [case for case in CASES if case.listening], ids=lambda case: case.name)
def test_every_answer_has_one_meaning(case: Case) -> None:
    with fault_server(case.script) as server:
        case.check(outcome(case, client(server.url, case.user, case.deadline)))
        assert len(server.asked) == case.asked


@pytest.mark.parametrize("case", [case for case in CASES if not case.listening], ids=lambda case: case.name)
def test_nobody_listens(case: Case) -> None:
    with kept_port() as port:
        case.check(outcome(case, client(f"http://127.0.0.1:{port}", case.user)))


def test_connections_are_kept() -> None:
    with fault_server({**on_head(GOOD), ("GET", "/v2/"): (PONG,)}) as server:
        registry = client(server.url)
        for _ in range(3):
            registry.ping()
            registry.head("team/app", "tag")
        assert len({asked.connection for asked in server.asked}) == 1


def test_a_redirect_to_a_store_is_followed_without_the_password() -> None:
    with fault_server({("GET", "/blob"): (Reply(200, body=b"data"),)}) as store:
        elsewhere = {"Location": store.url.replace("127.0.0.1", "localhost") + "/blob"}
        with fault_server({("GET", "/v2/x"): (Reply(307, elsewhere),)}) as server:
            answer = send(Request("GET", server.url + "/v2/x", {"Authorization": "Bearer x", "Accept": "y"}))
        assert answer.body == b"data"
        assert server.asked[0].headers["Authorization"] == "Bearer x"
        assert "Authorization" not in store.asked[0].headers
        assert store.asked[0].headers["Accept"] == "y"


def test_redirects_end() -> None:
    script = {("GET", "/a"): (Reply(302, {"Location": "/a"}),)}
    with fault_server(script) as server, pytest.raises(Unreachable) as caught:
        send(Request("GET", server.url + "/a"))
    assert caught.value.kind == "redirect"


def test_the_environment_moves_neither_password_nor_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password other\n", "utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("no_proxy", raising=False)
    with kept_port() as port, fault_server({("GET", "/a"): (Reply(200, {"Set-Cookie": "a=b"}),)}) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        send(Request("GET", server.url + "/a", {"Authorization": "Bearer x"}))
        send(Request("GET", server.url + "/a"))
        first, second = server.asked
    assert first.headers["Authorization"] == "Bearer x"
    assert {"Authorization", "Cookie"}.isdisjoint(second.headers)


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Unreachable) as caught:
        send(Request("GET", "https://no-such-host.invalid/?sig=secret"))
    assert caught.value.kind in {"dns", "closed"}  # closed: where only a proxy resolves names
    assert "secret" not in caught.value.reason


def test_plain_http_behind_https() -> None:
    with fault_server({}) as server, pytest.raises(Unreachable) as caught:
        send(Request("GET", server.url.replace("http:", "https:")))
    assert caught.value.kind == "tls"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = [program, "req", "-x509", *kind, *names, "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text("ascii") + Path(f"{file}.crt").read_text("ascii"), "ascii")
    return file


def test_an_untrusted_certificate_is_said(certificate: Path) -> None:
    with fault_server(on_head(GOOD), certificate=certificate) as server:
        answer = client(server.url).head("team/app", "tag")
    assert isinstance(answer, Unknown)
    assert "the TLS certificate is not trusted (self-signed certificate)" in answer.reason
    assert "1 attempt" in answer.reason


def test_the_environment_says_whom_to_trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with fault_server(on_head(GOOD), certificate=certificate) as server:
        assert isinstance(client(server.url).head("team/app", "tag"), Found)


def test_tls_is_never_left(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with fault_server({("GET", "/v2/"): (PONG,)}) as plain:
        away = Reply(307, {"Location": plain.url + "/v2/"})
        upload = Reply(202, {"Location": plain.url + "/upload"})
        script = {("GET", "/v2/"): (away,), ("POST", "/v2/team/app/blobs/uploads/"): (upload,)}
        with fault_server(script, certificate=certificate) as server:
            pong = client(server.url).ping()
            client(server.url).can_push("team/app")
        assert plain.asked == []
    assert isinstance(pong, Unknown)
    assert "from https to plain http" in pong.reason


def test_headers_that_never_end_meet_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unreachable) as caught:
            send(Request("GET", url, timeout=Timeouts(1.0, 60.0, 0.3)))
    assert caught.value.kind == "timeout"


@contextlib.contextmanager
def distribution(folder: Path, *, login: bool = False) -> Iterator[str]:
    """A real registry with its data in ``folder/registry``; yields its URL."""
    passwords = folder / "htpasswd"
    passwords.write_text(HTPASSWD, "utf-8")
    auth = f"auth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n"
    with servers.registry(folder, more=auth if login else "") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with distribution(tmp_path_factory.mktemp("registry")) as url:
        yield client(url)


def image(registry: Registry, repository: str, config: bytes) -> bytes:
    """The bytes of a manifest whose parts are stored."""
    part = {"digest": registry.put_blob(repository, config), "size": len(config)}
    kind = "application/vnd.oci.image.config.v1+json"
    content = {"schemaVersion": 2, "mediaType": OCI, "config": {"mediaType": kind, **part}, "layers": []}
    return json.dumps(content).encode()


def test_a_real_registry_round_trip(registry: Registry) -> None:
    config = b'{"architecture": "amd64", "os": "linux"}'
    body = image(registry, "team/app", config)
    found = registry.put_manifest("team/app", "tag", body, OCI)
    assert found == Found(digest_of(body), OCI, len(body))
    assert registry.head("team/app", "tag") == registry.head("team/app", found.digest) == found
    assert registry.manifest("team/app", "tag") == (found, body)
    assert registry.manifest("team/app", found.digest) == (found, body)
    assert registry.blob("team/app", digest_of(config)) == config
    assert registry.put_blob("team/app", config) == digest_of(config)
    assert registry.put_manifest("team/app", "other", body, OCI) == found


def test_a_real_registry_knows_what_it_lacks(registry: Registry) -> None:
    registry.put_blob("team/lacking", b"{}")
    assert registry.head("team/nobody", "tag") == registry.manifest("team/nobody", "tag") == Absent()
    assert registry.head("team/lacking", "tag") == registry.manifest("team/lacking", "tag") == Absent()
    assert registry.manifest("team/lacking", digest_of(b"?")) == Absent()
    assert registry.blob("team/lacking", digest_of(b"?")) == Absent()


def test_a_real_registry_refuses_a_manifest_without_its_parts(registry: Registry) -> None:
    content = json.loads(BODY)
    content["config"] = {"mediaType": OCI, "digest": digest_of(b"nowhere"), "size": 7}
    with pytest.raises(InfraError, match="BLOB_UNKNOWN"):
        registry.put_manifest("team/parts", "tag", json.dumps(content).encode(), OCI)
    assert registry.head("team/parts", "tag") == Absent()


def test_asking_for_push_rights_leaves_nothing(tmp_path: Path) -> None:
    with distribution(tmp_path) as url:
        assert client(url).can_push("team/app") == Granted()
    # This registry forgets the state of an empty hash when it drops an upload, nothing else.
    left = {path.parent.parent.name for path in (tmp_path / "registry").rglob("*") if path.is_file()}
    assert left <= {"hashstates"}


def test_a_real_registry_with_logins(tmp_path: Path) -> None:
    with distribution(tmp_path, login=True) as url:
        mine, foreign = client(url, USER), client(url)
        wrong = client(url, Credentials("ada", "wrong"))
        assert mine.ping() == Granted()
        assert mine.can_push("team/app") == Granted()
        assert mine.head("team/app", "tag") == Absent()
        body = image(mine, "team/app", b"{}")
        assert mine.put_manifest("team/app", "tag", body, OCI).digest == digest_of(body)
        for stranger in (foreign, wrong):
            assert isinstance(stranger.ping(), Denied)
            assert isinstance(stranger.can_push("team/app"), Denied)
            unknown = stranger.head("team/app", "tag")
            assert isinstance(unknown, Unknown)
            assert "docker login 127.0.0.1" in unknown.reason
            with pytest.raises(InfraError, match="docker login"):
                stranger.put_blob("team/app", b"{}")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float = 30.0) -> list[str]:
    """Install a credential helper that runs ``script``; what it makes us say and find."""
    program = folder / "docker-credential-test"
    program.write_text(f"#!{sys.executable}\n{script}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    config = folder / "config.json"
    config.write_text(json.dumps({"credHelpers": {"reg.example": "test"}}), "utf-8")
    said: list[str] = []
    found = docker_credentials(said.append, config=config, seconds=seconds)("reg.example")
    return [*said, *([f"{found.username}:{found.password}:{found.identity_token}"] if found else [])]


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            "import json, sys; print(json.dumps({'Username': sys.stdin.read(), 'Secret': 'horse'}))",
            "reg.example:horse:",
        ),
        ('print(\'{"Username": "<token>", "Secret": "horse"}\')', "::horse"),
    ],
)
def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, line: str) -> None:
    assert helper(tmp_path, monkeypatch, script) == [line]


def test_a_credential_helper_may_have_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "print('credentials not found in native keychain'); raise SystemExit(1)"
    assert helper(tmp_path, monkeypatch, script) == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('horse'); raise SystemExit(3)", "failed with code 3"),
        ("print('horse')", "no answer"),
        ("print('[\"horse\"]')", "no answer"),
    ],
)
def test_a_credential_helper_that_fails_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    (line,) = helper(tmp_path, monkeypatch, script)
    assert why in line
    assert "horse" not in line


def test_a_credential_helper_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = helper(tmp_path, monkeypatch, "import threading; threading.Event().wait()", seconds=0.3)
    assert "did not answer within" in line
