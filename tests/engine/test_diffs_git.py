"""What changed, asked of real git repositories; no engine is asked, and git may reach no network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.pipeline import pools
from ci.pipeline.changes import changed
from ci.pipeline.select import Wish
from ci.providers.facts import Facts
from ci.recipe import stack as stacks
from ci.world import diffs
from ci.world.diffs import Diff
from ci.world.process import Command, Finished, Lines
from ci.world.process import run as start
from tests.plain_git import run as git
from tests.plain_git import settle


@pytest.fixture(autouse=True)
def plain_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = '[protocol "ext"]\n allow = always\n[uploadpack]\n allowFilter = true\n allowAnySHA1InWant = true\n'
    settle(tmp_path, monkeypatch, more)


def commit(folder: Path, **files: str) -> str:
    """A commit with these files; ``__`` in a name is a slash, an empty text deletes."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text:
            path.write_text(text)
        else:
            path.unlink()
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "c")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """``main`` with one commit more than ``work``, which is checked out, has."""
    folder = tmp_path / "top"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, a="a\n", d__b="b\n", gone="g\n", moved="m\n" * 50, ignored=".ignored\n")
    (folder / ".gitignore").write_text("*.log\n")
    commit(folder)
    git(folder, "switch", "--quiet", "-c", "work")
    git(folder, "switch", "--quiet", "main")
    commit(folder, only_on_main="x\n")
    git(folder, "switch", "--quiet", "work")
    return folder


def base(folder: Path) -> str:
    return git(folder, "merge-base", "main", "work")


def test_committed_staged_changed_untracked_renamed_and_deleted_files(top: Path) -> None:
    git(top, "mv", "moved", "renamed")
    commit(top, gone="", d__b="other\n")
    (top / "staged").write_text("s\n")
    git(top, "add", "staged")
    git(top, "mv", "ignored", "d/staged-move")
    (top / "a").write_text("changed\n")
    (top / "new" / "deep").mkdir(parents=True)
    (top / "new" / "deep" / "u").touch()
    (top / "noise.log").touch()
    files = ("a", "d/b", "d/staged-move", "gone", "ignored", "moved", "new/deep/u", "renamed", "staged")
    assert diffs.against(top, "main") == Diff(files, base(top), "")


def test_nothing_changed_is_known(top: Path) -> None:
    assert diffs.against(top, "main") == Diff((), base(top), "")


def test_a_users_settings_hide_nothing(top: Path) -> None:
    for key, value in (
        ("status.showUntrackedFiles", "no"), ("diff.renames", "copies"), ("core.quotePath", "true"),
        ("diff.relative", "true"), ("status.relativePaths", "true"), ("color.ui", "always"), ("status.branch", "true"),
        ("status.short", "false"), ("diff.ignoreSubmodules", "all"), ("core.fsmonitor", "false"),
        ("status.showStash", "true"),
    ):  # fmt: skip
        git(top, "config", key, value)
    (top / "a").write_text("put away\n")
    git(top, "stash")
    git(top, "mv", "moved", "d/renamed")
    commit(top, d__b="other\n")
    (top / "ü").touch()
    assert diffs.against(top / "d", "main").files == ("d/b", "d/renamed", "moved", "ü")


ODD = [b"new\nline", b'quo"te', b" lead", b"-dash", b"tab\t", b"back\\slash", b"\xff\xfe", "naïve".encode(), b"->"]


def test_odd_names_come_as_they_are(top: Path) -> None:
    for name in ODD[::2]:
        (Path(str(top)) / name.decode("utf-8", "surrogateescape")).write_text("x")
    commit(top)
    for name in ODD[1::2]:
        (Path(str(top)) / name.decode("utf-8", "surrogateescape")).write_text("x")
    expected = sorted(name.decode("utf-8", "surrogateescape") for name in ODD)
    assert list(diffs.against(top, "main").files) == expected


def test_a_detached_head_and_a_linked_worktree(top: Path, tmp_path: Path) -> None:
    last = commit(top, a="2\n")
    git(top, "checkout", "--quiet", "--detach")
    assert diffs.against(top, "main").files == ("a",)
    git(top, "worktree", "add", "--quiet", str(tmp_path / "linked"), last)
    (tmp_path / "linked" / "more").touch()
    assert diffs.against(tmp_path / "linked", "main").files == ("a", "more")


def test_the_first_base_that_is_here_counts(top: Path) -> None:
    commit(top, a="2\n")
    assert diffs.against(top, "origin/main", "main").base == base(top)
    assert diffs.against(top, "HEAD", "main").files == ()
    assert diffs.against(top, "--octopus", "main").files == ("a",)


def test_crossed_histories_count_from_every_base(top: Path) -> None:
    left = commit(top, l="1\n")
    git(top, "switch", "--quiet", "-c", "right", "main")
    right = commit(top, r="1\n")
    git(top, "merge", "--quiet", "-m", "m", left)
    git(top, "switch", "--quiet", "work")
    git(top, "merge", "--quiet", "-m", "m", right)
    assert len(git(top, "merge-base", "--all", "work", "right").split()) == 2
    assert diffs.against(top, "right").files == ("l", "only_on_main", "r")


# --- what cannot be known -----------------------------------------------------------------------


def test_no_repository(tmp_path: Path) -> None:
    assert "is in no git repository" in diffs.against(tmp_path, "main").unknown


def test_no_git_on_path(top: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in diffs.against(top, "main").unknown


def test_no_commit_yet(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "new")
    for found in (diffs.against(tmp_path / "new", "main"), diffs.since_parent(tmp_path / "new")):
        assert found == Diff(unknown="the repository has no commit yet; git commit makes one")


def test_no_such_ref_has_a_suggestion_and_the_next_command(top: Path) -> None:
    found = diffs.against(top, "origin/mian", "mian")
    assert found.unknown.startswith("this clone has no origin/mian and no mian (did you mean main")
    assert "git fetch origin mian" in found.unknown
    assert "fetch origin mian)" in diffs.against(top, "mian", "origin/mian").unknown
    assert diffs.against(top, "--upload-pack=x").unknown.startswith("this clone has no --upload-pack=x")


def test_unrelated_histories(top: Path) -> None:
    git(top, "checkout", "--quiet", "--orphan", "other")
    commit(top, a="x\n")
    assert diffs.against(top, "main").unknown == "HEAD and main share no commit; name another with --base"


def test_a_broken_repository_says_what_git_said(top: Path) -> None:
    commit(top, a="2\n")
    tree = git(top, "rev-parse", "HEAD^{tree}")
    (top / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    assert "git cannot" in diffs.against(top, "main").unknown
    assert "unable to read tree" in diffs.against(top, "main").unknown


def clone(top: Path, *options: str) -> Path:
    folder = top.parent / "clone"
    git(top.parent, "clone", "--quiet", *options, f"file://{top}", str(folder))
    return folder


def test_a_shallow_clone_says_how_to_fetch_more_and_deepen_does(top: Path) -> None:
    commit(top, a="2\n")
    commit(top, a="3\n")
    folder = clone(top, "--depth=1", "--no-single-branch")
    found = diffs.against(folder, "origin/main")
    assert found.unknown.startswith("this clone is shallow and has no commit that HEAD and origin/main share")
    assert "--deepen" in found.unknown
    assert "--deepen" in diffs.since_parent(folder).unknown
    diffs.deepen(folder, 1)
    assert diffs.since_parent(folder).files == ("a",)
    diffs.deepen(folder, 5)
    assert diffs.against(folder, "origin/main") == Diff(("a",), base(top), "")


def test_deepen_asks_nobody_for_what_a_whole_clone_has(top: Path, tmp_path: Path) -> None:
    folder = marked(clone(top), tmp_path / "mark")
    diffs.deepen(folder, 1)
    assert not (tmp_path / "mark").exists()


def test_deepen_that_fails_is_the_worlds_fault(top: Path) -> None:
    commit(top, a="2\n")
    folder = clone(top, "--depth=1")
    git(folder, "remote", "set-url", "origin", str(top.parent / "nowhere"))
    with pytest.raises(InfraError) as caught:
        diffs.deepen(folder, 3)
    assert caught.value.problems[0].reference == "fetch"


# --- since the parent ---------------------------------------------------------------------------


def test_since_the_first_parent_of_a_merge(top: Path) -> None:
    side = commit(top, side="1\n")
    git(top, "switch", "--quiet", "main")
    before = git(top, "rev-parse", "HEAD")
    git(top, "merge", "--quiet", "--no-ff", "-m", "m", side)
    assert diffs.since_parent(top) == Diff(("side",), before, "")


def test_a_first_commit_has_no_parent(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "new")
    commit(tmp_path / "new", a="a\n")
    assert diffs.since_parent(tmp_path / "new").unknown.startswith("HEAD has no parent")


# --- submodules and partial clones --------------------------------------------------------------


def test_a_submodule_that_moved_is_its_folder(top: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "--quiet")
    commit(library, x="1\n")
    git(top, "submodule", "--quiet", "add", str(library), "third/lib")
    git(top, "config", "--file", ".gitmodules", "submodule.third/lib.ignore", "all")
    start_of = commit(top)
    commit(library, x="2\n")
    git(top / "third" / "lib", "pull", "--quiet")
    in_the_tree = diffs.against(top, start_of)
    assert (in_the_tree.files, in_the_tree.links) == (("third/lib",), ("third/lib",))
    # git add may heed that the submodule is to be ignored
    git(top, "update-index", "--cacheinfo", f"160000,{git(top / 'third' / 'lib', 'rev-parse', 'HEAD')},third/lib")
    git(top, "commit", "--quiet", "--allow-empty", "-m", "moved")
    committed = diffs.against(top, start_of)
    assert (committed.files, committed.links) == (("third/lib",), ("third/lib",))


def test_links_and_submodules_are_told_from_files(top: Path) -> None:
    for name in ("was link", "now file", "gone", "changed", "goes"):
        (top / f"l {name}").symlink_to("d")
    start_of = commit(top, f="x\n", **{"l file": "x\n"})

    def point(name: str, target: str = "") -> None:
        (top / name).unlink(missing_ok=True)
        (top / name).symlink_to(target) if target else (top / name).write_text("x\n")

    point("l was link")
    point("l file", "a")
    (top / "l goes").unlink()
    commit(top, f="y\n")
    point("l now file")
    point("l changed", "elsewhere")
    point("l staged", "d")
    git(top, "add", "l staged")
    point("l new", "d")
    (top / "new").touch()
    git(top, "rm", "--quiet", "l gone")
    git(top, "init", "--quiet", "nested")
    commit(top / "nested", x="x\n")
    found = diffs.against(top, start_of)
    names = ("changed", "file", "gone", "goes", "new", "now file", "staged", "was link")
    assert found.links == tuple(sorted((*(f"l {name}" for name in names), "nested/")))
    assert set(found.files) - {*found.links} == {"f", "new"}


def test_a_link_that_a_merge_left_open_is_one(top: Path) -> None:
    (top / "both ways").symlink_to("a")
    commit(top)
    git(top, "switch", "--quiet", "-c", "side", "HEAD~1")
    (top / "both ways").symlink_to("d")
    commit(top)
    subprocess.run(["git", "merge", "--quiet", "work"], cwd=top, capture_output=True, check=False)
    assert diffs.against(top, "HEAD").links == ("both ways",)


def marked(folder: Path, marker: Path) -> Path:
    """The clone with a remote that leaves a mark when git reaches for it."""
    git(folder, "config", "remote.origin.url", f"ext::touch {marker}")
    return folder


def test_a_blobless_clone_needs_no_blob(top: Path, tmp_path: Path) -> None:
    commit(top, a="2\n", d__b="x\n")
    git(top, "mv", "moved", "renamed")
    commit(top)
    folder = marked(clone(top, "--filter=blob:none"), tmp_path / "mark")
    (folder / "a").write_text("3")
    (folder / "d" / "b").write_text("b\n")  # as it was at the base, whose blob is not here
    packs = sorted((folder / ".git" / "objects" / "pack").iterdir())
    assert diffs.against(folder, "origin/main").files == ("a", "d/b", "moved", "renamed")
    assert sorted((folder / ".git" / "objects" / "pack").iterdir()) == packs
    assert not (tmp_path / "mark").exists()


def test_nothing_is_ever_fetched_even_where_git_would(top: Path, tmp_path: Path) -> None:
    """A clone without trees lacks those of the base: git by itself fetches them."""
    commit(top, a="2\n")
    folder = marked(clone(top, "--filter=tree:0"), tmp_path / "mark")
    assert "git cannot compare HEAD with" in diffs.against(folder, "origin/main").unknown
    assert not (tmp_path / "mark").exists()
    subprocess.run(["git", "diff-tree", "-r", "origin/main", "HEAD"], cwd=folder, capture_output=True, check=False)
    assert (tmp_path / "mark").exists(), "the test proves nothing: git would not have fetched"


def test_no_question_speaks_to_a_remote(top: Path) -> None:
    said: list[tuple[str, ...]] = []

    def listen(command: Command, on_line: Lines | None = None) -> Finished:
        said.append(command.argv)
        return start(command, on_line)

    diffs.against(top, "origin/main", "main", start=listen)
    diffs.since_parent(top, start=listen)
    diffs.against(top, "nobody", start=listen)
    asked = {word for words in said for word in words if not word.startswith("-")}
    assert {"merge-base", "diff-tree", "status", "rev-parse"} <= asked
    assert not asked & {"fetch", "pull", "ls-remote", "remote", "submodule"}
    assert all(words[:2] == ("env", "GIT_ALLOW_PROTOCOL=none") for words in said)


def test_the_index_is_not_written(top: Path) -> None:
    (top / "a").write_text("a\n")  # the same bytes at another time: a status that may would note that
    before = (top / ".git" / "index").stat().st_mtime_ns
    diffs.against(top, "main")
    assert (top / ".git" / "index").stat().st_mtime_ns == before


# --- which commit a profile counts from ---------------------------------------------------------

POOLS = pools.load(stacks.load("local"))


def test_a_pull_request_is_counted_from_the_remotes_branch(top: Path) -> None:
    git(top, "branch", "release", "main")
    commit(top, a="2\n")
    folder = clone(top, "--branch=work")
    git(folder, "branch", "main", "HEAD")  # a local main that nobody brought up to date
    git(folder, "branch", "topic", "HEAD")
    assert changed(folder, Wish(), POOLS) == Diff(("a",), base(top), "")
    onto = Facts("buildkite", "x", pull_request="3", base="release")
    assert changed(folder, Wish(), POOLS, facts=onto) == Diff(("a",), base(top), "")
    assert changed(folder, Wish(), POOLS, base="topic", facts=onto).files == ()
    assert changed(folder, Wish(), POOLS, base="main").files == ()
    assert changed(folder, Wish(), POOLS, base="release").files == ("a",)
    assert (
        "no origin/other and no other"
        in changed(folder, Wish(), POOLS, facts=Facts("github", "x", base="other")).unknown
    )


def test_main_is_counted_from_its_parent_unless_told_otherwise(top: Path) -> None:
    first = git(top, "rev-parse", "HEAD")
    before = commit(top, b="1\n")
    commit(top, a="2\n")
    assert changed(top, Wish("main"), POOLS) == Diff(("a",), before, "")
    assert changed(top, Wish("main"), POOLS, base=first).files == ("a", "b")


def test_a_push_of_several_commits_is_counted_from_what_the_branch_was(top: Path) -> None:
    before = git(top, "rev-parse", "HEAD")
    commit(top, b="1\n")
    commit(top, a="2\n")
    pushed = Facts("github", "x", branch="main", before=before)
    assert changed(top, Wish("main"), POOLS, facts=pushed) == Diff(("a", "b"), before, "")
    gone = pushed._replace(before="c" * 40)
    assert changed(top, Wish("main"), POOLS, facts=gone).unknown, "a push by force, whose old commit is not here"
