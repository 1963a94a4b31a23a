"""Reading back: whatever became otherwise between staging and proving is found, alone and all at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ci.build.lookup import IDENTITY
from ci.errors import ContractError, InfraError
from ci.publish.cached import cached_path
from ci.publish.make import Candidate
from ci.publish.manifest import MANIFEST, Release, SuiteRow
from ci.publish.prove import prove, read_back
from ci.publish.stage import stage
from ci.publish.wheelset import row_of
from ci.world.fakes import FakeRun
from ci.world.http import Request, Response
from ci.world.store import Folder
from tests import wheels
from tests.staging import COMMIT, REPOSITORY, World, path_of, references, settings


@dataclass
class Staged:
    """A release that is staged, and its world."""

    world: World
    release: Release

    def home(self, path: str) -> Path:
        """A file of the channel as it lies there."""
        return self.world.place / "nightly" / path

    def wrong(self) -> list[str]:
        """The references of everything that proving finds, which starts no program for it."""
        with pytest.raises(ContractError) as caught:
            prove(self.world.places(), self.release, self.world.folder, FakeRun({}), settings())
        return references(caught.value.problems)

    def rewrite(self, **more: object) -> None:
        """Let the release that stands and is proven be another one, as if it had been staged so."""
        self.release = replace(self.release, **more)  # type: ignore[arg-type]
        self.home(f"{COMMIT}/{MANIFEST}").write_bytes(self.release.encode())
        from ci.publish.index import of_set

        Folder(self.home(COMMIT)).publish(of_set(self.release))


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    world = World(tmp_path)
    return Staged(world, stage(world.places(), world.candidate()))


def test_what_was_staged_reads_back(staged: Staged) -> None:
    before = len(staged.world.memory.writes)
    tree = staged.world.tree()
    inside = read_back(staged.world.places(), staged.release)
    assert inside.keys() == {row.sha256 for row in staged.release.wheels}
    assert "rocm_probe.py,sha256=" in inside[staged.release.wheels[0].sha256].record
    assert len(staged.world.memory.writes) == before
    assert staged.world.tree() == tree


@pytest.mark.parametrize("which", ["layer", "config"])
def test_an_image_that_lost_a_blob_is_not_whole(staged: Staged, which: str) -> None:
    memory = staged.world.memory
    index = json.loads(memory.manifests[REPOSITORY][staged.release.images[0].digest][1])
    image = json.loads(memory.manifests[REPOSITORY][index["manifests"][0]["digest"]][1])
    del memory.blobs[REPOSITORY][(image["layers"][0] if which == "layer" else image["config"])["digest"]]
    with pytest.raises(ContractError) as caught:
        read_back(staged.world.places(), staged.release)
    assert references(caught.value.problems) == ["no-image"]
    assert "no blob sha256:" in caught.value.problems[0].context


def test_a_release_of_another_stack_is_not_ours(staged: Staged) -> None:
    places = replace(staged.world.places(), stack="vllm")
    with pytest.raises(ContractError, match="has releases of the stack local, not of vllm"):
        places.release(COMMIT)
    assert replace(places, stack="local").release(COMMIT) == staged.release


def test_a_release_of_images_alone_needs_no_installer(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = stage(world.places(), world.candidate([]))
    prove(world.places(), release, tmp_path, FakeRun({}), settings())


Spoil = Callable[[Staged], None]


def one_byte(staged: Staged) -> None:
    path = staged.home(path_of(staged.release.wheels[1]))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def no_wheel(staged: Staged) -> None:
    staged.home(path_of(staged.release.wheels[2])).unlink()


def no_metadata(staged: Staged) -> None:
    staged.home(path_of(staged.release.wheels[0], ".metadata")).unlink()


def other_metadata(staged: Staged) -> None:
    path = staged.home(path_of(staged.release.wheels[0], ".metadata"))
    path.write_bytes(path.read_bytes() + b"Requires-Dist: evil\n")


def moved_tag(staged: Staged) -> None:
    staged.world.tags[f"nightly-{COMMIT}"] = staged.release.images[1].digest


def no_tag(staged: Staged) -> None:
    del staged.world.tags[f"base-nightly-{COMMIT}"]


def other_page(staged: Staged) -> None:
    page = staged.home(f"{COMMIT}/simple/rocm7.2/rocm-probe/index.html").resolve()
    page.write_bytes(page.read_bytes().replace(staged.release.wheels[0].sha256.encode(), b"0" * 64))


def no_page(staged: Staged) -> None:
    staged.home(f"{COMMIT}/simple/index.json").resolve().unlink()


def page_too_many(staged: Staged) -> None:
    path = staged.home(f"{COMMIT}/simple/evil/index.html").resolve()
    path.parent.mkdir()
    path.write_text("<a href='https://evil.example/x.whl'>x</a>")


def other_manifest(staged: Staged) -> None:
    path = staged.home(f"{COMMIT}/{MANIFEST}")
    path.write_bytes(replace(staged.release, args={"X": "1"}).encode())


def other_day(staged: Staged) -> None:
    staged.home(f"{COMMIT}/{MANIFEST}").write_bytes(replace(staged.release, date="2027-01-01").encode())


def no_manifest(staged: Staged) -> None:
    staged.home(f"{COMMIT}/{MANIFEST}").unlink()


def broken_manifest(staged: Staged) -> None:
    staged.home(f"{COMMIT}/{MANIFEST}").write_bytes(b"{")


SPOILS: dict[str, tuple[Spoil, str]] = {
    each.__name__: (each, reference)
    for each, reference in (
        (one_byte, "wheel-bytes"),
        (no_wheel, "no-wheel"),
        (no_metadata, "no-metadata"),
        (other_metadata, "metadata-bytes"),
        (moved_tag, "moved-tag"),
        (no_tag, "moved-tag"),
        (other_page, "page"),
        (no_page, "page"),
        (page_too_many, "page"),
        (other_manifest, "other-release"),
        (other_day, "other-release"),
        (no_manifest, "no-release"),
        (broken_manifest, "broken-document"),
    )
}


@pytest.mark.parametrize("name", SPOILS)
def test_each_corruption_alone(staged: Staged, name: str) -> None:
    spoil, reference = SPOILS[name]
    spoil(staged)
    assert staged.wrong() == [reference]


@pytest.mark.parametrize(
    "names",
    [
        ("one_byte", "moved_tag", "other_page"),
        ("no_wheel", "no_metadata", "no_manifest"),
        ("other_metadata", "no_tag", "page_too_many"),
    ],
)
def test_three_at_once(staged: Staged, names: tuple[str, ...]) -> None:
    for name in names:
        SPOILS[name][0](staged)
    assert sorted(staged.wrong()) == sorted(SPOILS[name][1] for name in names)


def test_both_digests_are_told(staged: Staged) -> None:
    one_byte(staged)
    with pytest.raises(ContractError) as caught:
        read_back(staged.world.places(), staged.release)
    context = caught.value.problems[0].context
    assert staged.release.wheels[1].sha256 in context
    assert context.count("\n") == 1


def test_an_image_of_another_identity(staged: Staged) -> None:
    row = staged.release.images[0]
    labels = {IDENTITY: "f" * 64}
    digest = staged.world.memory.image(REPOSITORY, f"nightly-{COMMIT}", labels, b"other")
    images = (row._replace(digest=digest), staged.release.images[1])
    staged.rewrite(images=images, suites=())
    assert staged.wrong() == ["other-identity"]


def test_an_image_whose_manifest_is_gone(staged: Staged) -> None:
    del staged.world.memory.manifests[REPOSITORY][staged.release.images[0].digest]
    assert staged.wrong() == ["moved-tag", "no-image"]


@pytest.mark.parametrize("digests", [(), ("sha256:" + "0" * 64,)])
def test_a_suite_that_ran_elsewhere(staged: Staged, digests: tuple[str, ...]) -> None:
    staged.rewrite(suites=(*staged.release.suites, SuiteRow("serving", "ok", 1, 0, 0, "cpu", digests)))
    assert staged.wrong() == ["suite-elsewhere"]


def test_a_suite_may_run_on_some_of_the_images(staged: Staged) -> None:
    suite = SuiteRow("serving", "ok", 1, 0, 0, "cpu", (staged.release.images[0].digest,))
    staged.rewrite(suites=(suite,))
    read_back(staged.world.places(), staged.release)


def restaged(world: World, path: Path, **row: object) -> Staged:
    """A release of one wheel, whose row says something else where ``row`` does."""
    images = world.candidate([]).release.images
    found = row_of(path, "0" * 64)._replace(**row)  # type: ignore[arg-type]
    release = Release("local", "nightly", COMMIT, found.version, "2026-01-01", "", images, (found,))
    folder = world.place / "nightly" / COMMIT / found.sha256
    folder.mkdir(parents=True)
    (folder / found.filename).write_bytes(path.read_bytes())
    from ci.wheels.wheelfile import facts

    (folder / f"{found.filename}.metadata").write_bytes(facts(path.name, lambda _name: path.open("rb")).metadata)
    places = world.places()
    stage(places, Candidate(replace(release, wheels=())))
    made = Staged(world, release)
    made.rewrite()
    return made


@pytest.mark.parametrize(
    "row",
    [
        {"filename": "rocm_probe-0.2.0+rocm.7.2-py3-none-any.whl"},
        {"filename": "other-0.1.0+rocm.7.2-py3-none-any.whl"},
        {"filename": "rocm_probe-0.1.0+rocm.7.2-cp311-cp311-linux_x86_64.whl"},
        {"project": "other"},
        {"version": "0.1.0+rocm.7.2.trial"},
        {"requires_python": ">=3.99"},
        {"metadata": "0" * 64},
    ],
)
def test_names_that_disagree(tmp_path: Path, row: dict[str, object]) -> None:
    made = restaged(World(tmp_path), wheels.write(tmp_path / "built"), **row)
    found = set(made.wrong())
    assert "wheel-disagrees" in found
    assert found <= {"wheel-disagrees", "metadata-bytes"}


def test_a_file_name_that_is_no_wheels(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = restaged(world, wheels.write(tmp_path / "built"))
    row = made.release.wheels[0]
    renamed = row._replace(filename="rocm_probe.whl")
    made.home(path_of(row)).rename(made.home(path_of(renamed)))
    made.home(path_of(row, ".metadata")).rename(made.home(path_of(renamed, ".metadata")))
    made.rewrite(wheels=(renamed,))
    assert "wheel-disagrees" in made.wrong()


def test_what_is_right_alone_and_wrong_together(tmp_path: Path) -> None:
    world = World(tmp_path)
    said = "Metadata-Version: 2.1\nName: first\nVersion: 1.0+rocm.7.2\nRequires-Dist: second==3.0\n"
    paths = [
        wheels.write(tmp_path / "built", "first", "1.0+rocm.7.2", metadata=said),
        wheels.write(tmp_path / "built", "second", "2.0+rocm.7.2"),
        wheels.write(tmp_path / "built", "third", "1.0+rocm.6.4"),
    ]
    made = Staged(world, stage(world.places(), world.candidate(paths)))
    assert sorted(made.wrong()) == ["other-variant", "set-disagrees"]
    made.rewrite(version="9.9+rocm.7.2")
    assert sorted(made.wrong()) == ["other-variant", "release-version", "set-disagrees"]


def test_one_project_in_two_versions(tmp_path: Path) -> None:
    world = World(tmp_path)
    paths = [wheels.write(tmp_path / "built", "probe", f"1.{minor}") for minor in (1, 0)]
    made = Staged(world, stage(world.places(), world.candidate(paths)))
    assert made.wrong() == ["two-versions"]


def test_a_label_satisfies_a_requirement_without_one(staged: Staged) -> None:
    """``probe-tools==0.3`` is what the first wheel requires, and 0.3+rocm.7.2 is there."""
    read_back(staged.world.places(), staged.release)


def test_a_registry_that_cannot_tell_is_no_broken_contract(staged: Staged) -> None:
    def ill(request: Request) -> Response | None:
        return Response(500) if "/manifests/" in request.url else None

    staged.world.memory.hook = ill
    with pytest.raises(InfraError) as caught:
        prove(staged.world.places(), staged.release, staged.world.folder, FakeRun({}), settings())
    assert references(caught.value.problems) == ["could-not-tell"], "the second image is not asked about"


def test_what_is_known_to_be_wrong_weighs_more(staged: Staged) -> None:
    def ill(request: Request) -> Response | None:
        return Response(500) if "/manifests/" in request.url else None

    staged.world.memory.hook = ill
    no_page(staged)
    assert staged.wrong() == ["page", "could-not-tell"]


def test_the_cache_is_not_asked(staged: Staged) -> None:
    """It may be emptied at any time."""
    (staged.world.place / "cache" / cached_path(staged.release.wheels[0])).unlink()
    read_back(staged.world.places(), staged.release)
