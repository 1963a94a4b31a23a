"""What changed from one release to the next, and how it is told."""

from __future__ import annotations

from dataclasses import replace

from ci.names import JournalName, ReleaseTag
from ci.publish.changes import Change, Changes, Size, between
from ci.publish.decide import Part, Path
from ci.publish.journal import Move
from ci.publish.manifest import ImageRow, Release, Standing, SuiteRow, WheelRow
from ci.publish.release import Outlook, Result
from ci.publish.switch import Switched
from ci.report import releases
from ci.world.history import Commit

OLD, NEW = "a" * 40, "b" * 40
RELEASE = Release(
    "local",
    "nightly",
    OLD,
    "0.2.0.dev1+rocm.7.14",
    "2026-01-01",
    "localhost:5000/x",
    (ImageRow("main", "test", "0" * 64, "sha256:" + "1" * 64, 2_000_000),),
    (WheelRow("rocm-probe", "0.2.0.dev1+rocm.7.14", "rocm_probe.whl", "2" * 64, 1000, "", "3" * 64, "4" * 64),),
    (SuiteRow("rocm-tests", "ok", 6, 0, 1, "cpu", ()),),
    {"TORCH": "2.12"},
    {"PYTORCH_ROCM_ARCH": "gfx942"},
)
NEXT = replace(
    RELEASE,
    commit=NEW,
    images=(RELEASE.images[0]._replace(size=1_500_000), RELEASE.images[0]._replace(name="base")),
    suites=(RELEASE.suites[0]._replace(run=7),),
    pins={"TORCH": "2.13"},
)


def log(old: str, new: str) -> tuple[Commit, ...]:
    assert (old, new) == (OLD, NEW)
    return (Commit(NEW, "Use a | b <c> `d`"),)


def test_everything_that_differs_is_found() -> None:
    found = between(RELEASE, NEXT, log)
    assert found.since == OLD
    assert found.commits == (Commit(NEW, "Use a | b <c> `d`"),)
    assert found.pins == (Change("TORCH", "2.12", "2.13"),)
    assert found.sizes == (
        Size("image main", 2_000_000, 1_500_000),
        Size("image base", None, 2_000_000),
        Size("wheel rocm-probe", 1000, 1000),
    )
    assert found.tests == (Change("rocm-tests", "ok, 6 run, 1 skipped, on cpu", "ok, 7 run, 1 skipped, on cpu"),)


def test_what_is_gone_is_found_as_well() -> None:
    found = between(NEXT, RELEASE, lambda _old, _new: None)
    assert Size("image base", 2_000_000, None) in found.sizes
    assert found.commits is None
    assert found.to_json()["commits"] is None


def test_a_first_release_has_nothing_before_it() -> None:
    found = between(None, RELEASE, log)
    assert (found.since, found.commits, found.pins) == ("", (), ())
    assert found.sizes == (Size("image main", None, 2_000_000), Size("wheel rocm-probe", None, 1000))


def result(changes: Changes, *, already: bool = False) -> Result:
    moves = (Move("image:x:nightly", "sha256:" + "5" * 64, "sha256:" + "1" * 64, NEW),)
    standing = Standing(3, "run", "release", "2026-01-02T00:00:00Z", NEW, "m", OLD)
    return Result(NEXT, Switched(standing, moves, already), changes, {"x:nightly-b": "sha256:" + "1" * 64}, ())


def test_the_page_escapes_what_it_quotes() -> None:
    text = releases.answer("release-nightly", result(between(RELEASE, NEXT, log))).text
    assert f"- `{NEW[:12]}` Use a \\| b \\<c\\> \\`d\\`" in text
    assert "| `image:x:nightly` | `555555555555` | `111111111111` |" in text
    assert "| image main | 2 MB | 1.5 MB | -500 kB |" in text
    assert "| image base | none | 2 MB |  |" in text
    assert "| wheel rocm-probe | 1 kB | 1 kB | none |" in text
    assert "| TORCH | 2.12 | 2.13 |" in text
    assert "Released: commit" in text


def test_a_release_that_was_there_says_so() -> None:
    done = result(between(RELEASE, NEXT, log), already=True)
    assert "pointers that differed were repaired" in releases.answer("release-nightly", done).text
    still = replace(done.switched, moves=(done.switched.moves[0]._replace(old=done.switched.moves[0].new),))
    assert "nothing was to be done" in releases.answer("release-nightly", replace(done, switched=still)).text


def test_commits_that_cannot_be_listed_are_said_to_be_so() -> None:
    text = releases.answer("release-nightly", result(between(RELEASE, NEXT, lambda _old, _new: None))).text
    assert "cannot be listed" in text


def test_a_plan_tells_old_and_new_of_every_pointer() -> None:
    moves = (Move("index:nightly", None, None, NEW), Move("image:x:nightly", "sha256:" + "5" * 64, None, NEW))
    parts = tuple(Part("image", name, "0" * 64, way, "") for name, way in (("main", Path.COPY), ("base", Path.THERE)))
    shown = releases.planned("release-nightly", Outlook("nightly", NEW, False, parts, {"rocm-tests": 4}, moves))
    assert "to be made: copy" in shown.text
    assert shown.document["path"] == "copy"
    assert "index:nightly: nothing -> what is made" in shown.text
    assert "image:x:nightly: 555555555555 -> what is made" in shown.text
    assert "rocm-tests: at least 4 tests" in shown.text
    assert shown.document["plan"] is True


def test_tags_of_a_channel_are_told_exactly() -> None:
    for tag in (
        ReleaseTag("main", "nightly"),
        ReleaseTag("base", "nightly"),
        ReleaseTag("base", "nightly", commit=OLD),
        ReleaseTag("main", "nightly", version="1.2.0"),
    ):
        assert ReleaseTag.parse(str(tag), "nightly") == tag
    for other in (f"nightly-rocm100-{OLD}", "nightly-", "nightly-abc", f"Nightly-{OLD}", f"nightly-{OLD}0", "vx", "x-"):
        assert ReleaseTag.parse(other, "nightly") is None
    name = JournalName(17, "20261120T161500Z-0a1b2c3d")
    assert str(name) == "journal/00000017-20261120T161500Z-0a1b2c3d.json"
    assert JournalName.parse(str(name)) == name
    assert JournalName.parse("journal/17.json") is None
