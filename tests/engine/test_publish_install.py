"""Real pip and real uv install a staged release from its index, out of a folder and out of a bucket."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from ci import settings as settings_room
from ci.errors import ContractError, InfraError
from ci.publish.installing import Bench, install
from ci.publish.places import Places
from ci.publish.prove import prove, read_back
from ci.publish.readback import Inside
from ci.publish.stage import stage
from ci.settings import Settings
from ci.world import serving
from ci.world.bucket import Bucket
from ci.world.fakes import FakeRun
from ci.world.process import Command, Finished, run
from ci.world.store import Folder, Store
from tests import wheels
from tests.staging import COMMIT, World, references

pytestmark = pytest.mark.without_engine


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture(params=["folder", "bucket"])
def whole(request: pytest.FixtureRequest, world: World) -> Store:
    """A place of either kind; the bucket is one of a real server."""
    return Folder(world.place) if request.param == "folder" else Bucket.at(request.getfixturevalue("bucket"))


def lonely() -> Settings:
    """This host's settings, where no other index is asked."""
    found = settings_room.capture()
    kept = {name: value for name, value in found.environ.items() if not name.startswith("PIP_")}
    return Settings({**kept, "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}, {})


class Recorded:
    """The real way to start programs, and what was started."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def __call__(self, command: Command) -> Finished:
        self.commands.append(command)
        return run(command)


def test_both_installers_take_the_staged_wheels(world: World, whole: Store, scratch: Path) -> None:
    places = world.places(whole)
    release = stage(places, world.candidate())
    start = Recorded()
    prove(places, release, scratch, start, lonely())
    ran = [" ".join(command.argv) for command in start.commands]
    for installer, word in (("-m pip install --extra-index-url", "rocm-probe==0.1.0+rocm.7.2"), ("uv pip install", "")):
        assert len([line for line in ran if installer in line and word in line]) >= 1
    assert not [line for line in ran if "--no-deps" in line], "nothing had to be found out about a failure"
    assert list(scratch.iterdir()) == [], "environments are gone"
    for command in start.commands:
        assert not {name for name in command.env or {} if name.startswith(("AWS_", "DOCKER_"))}


def test_requirements_come_from_this_hosts_own_configuration(world: World, scratch: Path, tmp_path: Path) -> None:
    """The folder of wheels that pip is told about is told to uv as well; a wheel there is third-party."""
    said = "Metadata-Version: 2.1\nName: needy\nVersion: 1.0+rocm.7.2\nRequires-Dist: third-party>=2\n"
    built = wheels.write(tmp_path / "built", "needy", "1.0+rocm.7.2", metadata=said)
    places = world.places()
    release = stage(places, world.candidate([built]))
    with pytest.raises(InfraError) as caught:
        prove(places, release, scratch, run, lonely())
    assert references(caught.value.problems) == ["no-requirements"], "nothing is known about the release"
    assert "third-party" in caught.value.problems[0].context
    wheels.write(tmp_path / "others", "third-party", "2.1")
    settings = lonely()
    told = Settings({**settings.environ, "PIP_FIND_LINKS": str(tmp_path / "others")}, {})
    prove(places, release, scratch, run, told)


def test_the_index_of_the_host_and_the_printed_one_are_both_asked(world: World, scratch: Path, tmp_path: Path) -> None:
    said = "Metadata-Version: 2.1\nName: needy\nVersion: 1.0+rocm.7.2\nRequires-Dist: third-party>=2\n"
    built = wheels.write(tmp_path / "built", "needy", "1.0+rocm.7.2", metadata=said)
    places = world.places()
    release = stage(places, world.candidate([built]))
    mirror = World(tmp_path / "mirror")
    other = wheels.write(tmp_path / "others", "third-party", "2.1")
    stage(mirror.places(), mirror.candidate([other]))
    with serving.serve(mirror.places().store.within(COMMIT), negotiates=True) as served:
        kept = {name: value for name, value in lonely().environ.items() if name != "PIP_NO_INDEX"}
        theirs = {"PIP_INDEX_URL": f"{served.url}/nothing/", "PIP_EXTRA_INDEX_URL": f"{served.url}/simple/"}
        prove(places, release, scratch, run, Settings({**kept, **theirs}, {}))


def test_a_wheel_that_this_host_has_elsewhere_proves_nothing(world: World, scratch: Path) -> None:
    places = world.places()
    candidate = world.candidate()
    release = stage(places, candidate)
    links = {"PIP_FIND_LINKS": str(world.folder / "built")}
    with pytest.raises(ContractError) as caught:
        prove(places, release, scratch, run, Settings({**lonely().environ, **links}, {}))
    assert set(references(caught.value.problems)) == {"installed-elsewhere"}


def installs(places: Places, scratch: Path, inside: dict[str, Inside]) -> list[str]:
    """What installing finds, with nothing read back before."""
    bench = Bench(scratch, run, lonely())
    release = places.released(COMMIT)
    return sorted(set(references(install(places, release, inside, bench))))


def test_a_page_with_another_hash_is_refused(world: World, scratch: Path) -> None:
    """The pages are compared before anything is installed; pip would have refused it too."""
    places = world.places()
    release = stage(places, world.candidate())
    inside = read_back(places, release)
    row = release.wheels[0]
    for name in ("index.html", "index.json"):
        for folder in ("", "rocm7.2/"):
            page = (world.place / f"nightly/{COMMIT}/simple/{folder}rocm-probe/{name}").resolve()
            page.write_bytes(page.read_bytes().replace(row.sha256.encode() + b'"', b"0" * 64 + b'"'))
            page.write_bytes(page.read_bytes().replace(f"#sha256={row.sha256}".encode(), b"#sha256=" + b"0" * 64))
    with pytest.raises(ContractError) as caught:
        prove(places, release, scratch, run, lonely())
    assert set(references(caught.value.problems)) == {"page"}
    assert installs(places, scratch, inside) == ["not-installable"]


def test_installed_bytes_are_those_of_the_wheel(world: World, scratch: Path) -> None:
    """Two wheels that bring the same file: whichever comes last has it."""
    built = world.folder / "built"
    paths = [
        wheels.write(built, "first", "1.0+rocm.7.2", files={"shared.py": "x = 1\n"}),
        wheels.write(built, "second", "1.0+rocm.7.2", files={"shared.py": "x = 2\n"}),
    ]
    places = world.places()
    release = stage(places, world.candidate(paths))
    with pytest.raises(ContractError) as caught:
        prove(places, release, scratch, run, lonely())
    assert set(references(caught.value.problems)) == {"installed-bytes"}
    assert {each.context for each in caught.value.problems} == {"shared.py"}


def test_a_wheel_that_a_third_party_replaces(world: World, scratch: Path, tmp_path: Path) -> None:
    """The second printed line brings what wants an older version of the first one's wheel."""
    built, others = world.folder / "built", tmp_path / "others"
    needy = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\nRequires-Dist: {}\n"
    paths = [
        wheels.write(built, "first", "1.0+rocm.7.2"),
        wheels.write(built, "second", "1.0", metadata=needy.format("second", "third-party")),
    ]
    wheels.write(others, "third-party", "1.0", metadata=needy.format("third-party", "first==0.9"))
    wheels.write(others, "first", "0.9")
    places = world.places()
    release = stage(places, world.candidate(paths))
    with pytest.raises(ContractError) as caught:
        prove(places, release, scratch, run, Settings({**lonely().environ, "PIP_FIND_LINKS": str(others)}, {}))
    found = [each for each in caught.value.problems if each.reference == "installed-version"]
    assert found
    assert all("0.9 is installed" in each.message for each in found)


def test_a_wheel_that_the_store_loses_while_it_is_installed_is_no_broken_contract(world: World, scratch: Path) -> None:
    places = world.places()
    release = stage(places, world.candidate())
    inside = read_back(places, release)

    class Ill(Folder):
        def stored(self, path: str) -> None:
            raise InfraError("store", f"{path}: 503")

        def within(self, prefix: str) -> Ill:
            return Ill(world.place / "nightly" / prefix)

    ill = replace(places, store=Ill(world.place / "nightly"))
    with pytest.raises(InfraError) as caught:
        list(install(ill, release, inside, Bench(scratch, run, lonely())))
    assert "503" in str(caught.value)


def test_no_python_that_fits(world: World, scratch: Path) -> None:
    other = f"cp3{sys.version_info.minor + 40}"
    path = wheels.write(world.folder / "built", tag=f"{other}-{other}-linux_x86_64")
    places = world.places()
    release = stage(places, world.candidate([path]))
    with pytest.raises(InfraError) as caught:
        prove(places, release, scratch, FakeRun({}), lonely())
    assert references(caught.value.problems) == ["no-python"]


def asked(url: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", b""


def test_a_store_as_a_web_server_shows_it(world: World, whole: Store) -> None:
    places = world.places(whole)
    release = stage(places, world.candidate())
    store = places.store.within(COMMIT)
    json = "application/vnd.pypi.simple.v1+json"
    row = release.wheels[0]
    wheel = f"{row.sha256}/{row.filename}"
    with serving.serve(store, negotiates=True) as served:
        assert asked(f"{served.url}/simple/", json)[1] == json
        assert asked(f"{served.url}/simple/")[1].startswith("text/html")
        assert served.sent == {"simple/index.json", "simple/index.html"}
        status, kind, data = asked(f"{served.url}/{wheel.replace('+', '%2B')}")
        assert (status, kind, len(data)) == (200, "application/octet-stream", row.size)
        assert wheel in served.sent
        head = urllib.request.Request(f"{served.url}/{wheel}.metadata", method="HEAD")
        with urllib.request.urlopen(head) as answer:
            assert int(answer.headers["Content-Length"]) > 0
        assert f"{wheel}.metadata" not in served.sent
        for path in ("nothing/", "simple/../../release.json", "%2e%2e/standing.json"):
            assert asked(f"{served.url}/{path}")[0] == 404
        url = served.url
    with pytest.raises(urllib.error.URLError):
        asked(f"{url}/simple/")
    with serving.serve(store, negotiates=False) as served:
        assert asked(f"{served.url}/simple/", json)[1].startswith("text/html")
    assert not served.troubles
