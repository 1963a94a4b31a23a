"""The host's network settings as RUN steps get them: how bytes arrive, never which."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from ci.build import host
from ci.errors import ConfigError, InfraError
from ci.settings import Settings, capture
from ci.world import host as facts
from ci.world import wheelhouse
from ci.world.fakes import FakeRun

EVERY = frozenset({"max_jobs", "ca", "apt_conf", "pip_conf", "http_proxy", "https_proxy", "no_proxy"})


def settings(**environ: str) -> Settings:
    return capture({}, environ)


# --- facts of the host ----------------------------------------------------------------------


def test_the_named_ca_bundle_wins(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("# Ä\nA\n", encoding="utf-8")
    (tmp_path / "b.pem").write_text("B\n")
    both = {"SSL_CERT_FILE": str(tmp_path / "a.pem"), "REQUESTS_CA_BUNDLE": str(tmp_path / "b.pem")}
    assert facts.ca_bundle(settings(**both)) == "# \nA\n"
    assert facts.ca_bundle(settings(REQUESTS_CA_BUNDLE=str(tmp_path / "b.pem"))) == "B\n"


def test_no_ca_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_BUNDLES", ("/nowhere/ca.pem",))
    assert facts.ca_bundle(settings(SSL_CERT_FILE="/nowhere/either.pem")) == ""


def test_pip_files_in_pips_order(tmp_path: Path) -> None:
    for name in (".pip/pip.conf", ".config/pip/pip.conf", "xdg/pip/pip.conf", "named.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    home, named, xdg = str(tmp_path), str(tmp_path / "named.conf"), str(tmp_path / "xdg")

    def found(**environ: str) -> list[str]:
        texts = facts.pip_files(settings(**environ))
        return [text for text in texts if text.endswith("pip.conf") or text == "named.conf"]  # this host may have more

    assert found(HOME=home) == [".pip/pip.conf", ".config/pip/pip.conf"]
    assert found(HOME=home, PIP_CONFIG_FILE=named) == [".pip/pip.conf", ".config/pip/pip.conf", "named.conf"]
    assert found(HOME=home, XDG_CONFIG_HOME=xdg) == [".pip/pip.conf", "xdg/pip/pip.conf"]
    assert facts.pip_files(settings(HOME=home, PIP_CONFIG_FILE="/dev/null")) == ()


def test_apt_options_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = 'Acquire "";\nAcquire::Check-Valid-Until "false";\nAcquire::Retries "";\nAcquire::Other "x";\nbroken\n'
    start = FakeRun({("apt-config", "dump", "Acquire"): (0, dump, "")})
    monkeypatch.setattr(facts, "run", start)
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    assert facts.apt_options(facts.APT_KEYS) == {"Acquire::Check-Valid-Until": "false"}
    assert start.commands[0].deadline
    monkeypatch.setattr("shutil.which", lambda _name, **_: None)
    assert facts.apt_options(facts.APT_KEYS) == {}


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert facts.free_disk(tmp_path / "not/yet") > 0
    assert facts.free_disk(Path("relative/not/yet")) > 0


def test_a_program_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name, **_: None)
    with pytest.raises(InfraError) as caught:
        facts.require("mmdebstrap", "to make a root")
    assert caught.value.problems[0].hint == "apt-get install mmdebstrap"


# --- secrets of a build ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "cores", "memory", "jobs"),
    [
        ("7", 2, 64, "7"),
        ("", 4, 64, "4"),
        ("", 16, 8, "4"),
        ("", 4, 1, "1"),
        ("0", 4, 64, "4"),
        ("-1", 4, 64, "4"),
        ("٣", 4, 64, "4"),
        ("4\n", 2, 64, "2"),
        ("many", 2, 64, "2"),
    ],
)
def test_jobs_are_cores_that_memory_allows(
    monkeypatch: pytest.MonkeyPatch, given: str, cores: int, memory: int, jobs: str
) -> None:
    monkeypatch.setattr(facts, "cores", lambda: cores)
    monkeypatch.setattr(facts, "memory", lambda: memory * 1024**3)
    assert host.max_jobs(settings(MAX_JOBS=given)) == jobs


def test_pip_options_as_pip_reads_them() -> None:
    texts = (
        "[global]\nindex-url = http://one/\ntimeout = 1\n[install]\nfind_links = /a /b\n",
        "[global]\nindex_url = http://two/\nfind-links = /c\n[download]\ntimeout = 9\n",
    )
    assert host.pip_options(settings(), texts) == {
        "index-url": ("http://two/",),
        "find-links": ("/a", "/b"),
        "timeout": ("1",),
    }
    found = host.pip_options(settings(PIP_INDEX_URL="http://env/", PIP_NO_INDEX="1"), texts)
    assert (found["index-url"], found["no-index"]) == (("http://env/",), ("1",))
    assert host.pip_options(settings(), ("[global]\nindex-url =\nuser = me%x\n",)) == {}


class Net:
    """A host with nothing but what a test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: tuple[str, ...] = ()
        monkeypatch.setattr(facts, "_BUNDLES", ())
        monkeypatch.setattr(facts, "apt_options", lambda _keys: {"Acquire::Retries": "3"})
        monkeypatch.setattr(facts, "pip_files", lambda _settings: self.texts)
        self.served: list[tuple[Path, ...]] = []
        monkeypatch.setattr(wheelhouse, "serve", self.serve)

    def serve(self, folders: tuple[Path, ...], address: str) -> Net:
        self.served.append(folders)
        self.answer = {folder: f"http://{address}:8000/{number}/" for number, folder in enumerate(folders)}
        return self

    def __enter__(self) -> dict[Path, str]:
        return self.answer

    def __exit__(self, *_error: object) -> None:
        self.answer = {}


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    return Net(monkeypatch)


def ini(text: str) -> dict[str, list[str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {key: value.split() for key, value in parser.items("global")}


def test_a_bare_host_has_no_secret_but_jobs_and_apt(net: Net) -> None:
    with host.network(settings(MAX_JOBS="3"), EVERY, pytest.fail) as found:
        assert found.secrets == {"max_jobs": "3", "apt_conf": 'Acquire::Retries "3";\n'}
        assert found.notices == ()
    assert net.served == []


def test_proxies_in_either_case(net: Net) -> None:
    environ = {"HTTPS_PROXY": "http://me:pw@upper", "https_proxy": "http://lower", "NO_PROXY": "localhost"}
    with host.network(settings(**environ), EVERY, pytest.fail) as found:
        assert found.secrets["https_proxy"] == "http://lower"
        assert found.secrets["no_proxy"] == "localhost"
        assert "http_proxy" not in found.secrets
    assert net.served == []


def test_a_bucket_of_sccache_reaches_only_a_run_that_mounts_it(net: Net) -> None:
    environ = {"SCCACHE_BUCKET": "b", "AWS_SECRET_ACCESS_KEY": "hunter2", "MAX_JOBS": "3"}
    bucket = frozenset({"sccache_bucket", "aws_secret_access_key"})
    with host.network(settings(**environ), bucket, pytest.fail) as found:
        assert found.secrets == {"sccache_bucket": "b", "aws_secret_access_key": "hunter2"}
    with host.network(settings(**environ), frozenset({"max_jobs"}), pytest.fail) as found:
        assert found.secrets == {"max_jobs": "3"}
    assert net.served == []


def test_local_wheels_are_served_on_the_bridge(net: Net, tmp_path: Path) -> None:
    net.texts = (f"[global]\nfind-links = {tmp_path} http://far/w\nindex-url = http://me:pw@index/\n",)
    with host.network(settings(), EVERY, lambda: "172.17.0.1") as found:
        assert ini(found.secrets["pip_conf"]) == {
            "index-url": ["http://me:pw@index/"],
            "find-links": ["http://172.17.0.1:8000/0/", "http://far/w"],
            "trusted-host": ["172.17.0.1:8000"],
        }
        assert found.notices == ()
    assert net.served == [(tmp_path,)]


def test_local_paths_without_a_bridge_are_left_out_and_said(net: Net, tmp_path: Path) -> None:
    net.texts = (f"[global]\nfind-links = {tmp_path} file:///nowhere\nindex-url = file://{tmp_path}\n",)
    with host.network(settings(), EVERY, lambda: "") as found:
        assert "pip_conf" not in found.secrets
        assert len(found.notices) == 2
        assert all("cannot reach" in notice for notice in found.notices)
    assert net.served == []


def test_a_broken_pip_configuration_is_an_error_not_a_traceback(net: Net) -> None:
    net.texts = ("index-url = x\n",)
    with pytest.raises(ConfigError, match="pip"), host.network(settings(), EVERY, lambda: ""):
        pytest.fail("it was read")


def test_a_build_gets_only_the_secrets_its_instructions_mount() -> None:
    texts = [
        "RUN --mount=type=secret,id=ca,target=/x --mount=type=cache,id=pip,target=/c true",
        "RUN --mount=required=false,type=secret,id=max_jobs,env=MAX_JOBS make",
        "RUN echo --mount=type=bind,source=id=http_proxy",
    ]
    assert host.mounted(texts) == {"ca", "max_jobs"}
