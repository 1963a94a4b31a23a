"""Trees and explanations on real git repositories; no engine is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci.build.explain import explain
from ci.build.inputs import RECIPE
from ci.build.record import Records
from ci.build.roots import reference
from ci.build.workspace import Workspace
from ci.errors import ConfigError, Problem
from ci.recipe import stack as stacks
from ci.recipe.dockerfile import FileNeed
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.world import files, git
from ci.world.clock import SystemClock
from ci.world.fakes import FakeEngine, image
from tests import recipes
from tests.plain_git import run, settle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def plain_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(tmp_path, monkeypatch)


CONTENT = {
    "a.txt": "a\n",
    "run.sh": "#!/bin/sh\n",
    "d/b c.txt": "b\n",
    "d/new\nline": "n\n",
    "d/back\\slash": "s\n",
    "d/carriage\r\nreturn\r": "r\n",
    "d/übung 😀": "u\n",
    "d/tab\there": "t\n",
    "d/e/deep": "deep\n",
}


def commit(folder: Path, message: str = "x") -> str:
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "--allow-empty", "-m", message)
    return run(folder, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    run(root, "init", "-q")
    for name, text in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("d/e")
    (root / "nowhere").symlink_to("not/here")
    commit(root)
    return root


Seen = dict[str, str]


def look(root: Path, hashes: dict[str, str] | None = None, *sources: str) -> Seen:
    """What ``COPY .`` takes, as mode and hash, with a hash cache or with none."""
    need = FileNeed("", sources or (".",), 1, "copy", file="Dockerfile")
    found = Tree("recipe", root, {} if hashes is None else hashes).select((need,), (".dockerignore",))
    return {path: entry.value for path, entry in found.items()}


def on_disk(root: Path, *names: str) -> Seen:
    """The same, read straight from the disk."""
    found = {name: files.content(root / name) for name in sorted(names)}
    return {name: f"{one.mode} {one.sha256}" for name, one in found.items()}


ALL = (*CONTENT, "link", "nowhere")


def test_every_kind_of_name_and_file(repo: Path) -> None:
    assert look(repo) == on_disk(repo, *ALL)
    assert {name: value.split()[0] for name, value in look(repo).items() if not value.startswith("0644")} == {
        "run.sh": "0755", "link": "link", "nowhere": "link",
    }  # fmt: skip


def test_a_file_name_that_is_not_utf_8_is_refused_where_it_counts(repo: Path) -> None:
    (repo / "d" / os.fsdecode(b"latin-\xe9")).write_text("x")
    commit(repo)
    assert look(repo, None, "a.txt") == on_disk(repo, "a.txt")
    with pytest.raises(ConfigError) as caught:
        look(repo)
    assert caught.value.problems[0].reference == "file-name"


# --- changes --------------------------------------------------------------------------------


def _stage(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    run(root, "add", name)


def _staged_only(root: Path) -> None:
    _stage(root, "a.txt", "staged")
    (root / "a.txt").write_text("a\n")


def _same_size_and_time(root: Path) -> None:
    status = (root / "a.txt").stat()
    (root / "a.txt").write_text("A\n")
    os.utime(root / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))


def _hidden(flag: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        run(root, "update-index", flag, "a.txt", "d/e/deep")
        (root / "a.txt").write_text("hidden edit")
        (root / "d/e/deep").unlink()

    return change


def _sparse(root: Path) -> None:
    run(root, "sparse-checkout", "set", "--no-cone", "/a.txt", "/d/e/")


def _touch(root: Path) -> None:
    for name in CONTENT:
        os.utime(root / name, (1, 1))


def _to_link(root: Path) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("run.sh")


def _link_elsewhere(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("d")


def _no_folder(root: Path) -> None:
    (root / "d/e/deep").unlink()
    (root / "d/e").rmdir()


def _file_mode_off(root: Path) -> None:
    run(root, "config", "core.fileMode", "false")
    (root / "a.txt").chmod(0o755)


def _residue(root: Path) -> None:
    (root / "d/residue.o").write_text("x")
    (root / ".env").write_text("secret")
    (root / "build").mkdir()
    (root / "build/out").write_text("x")


EDITS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda _root: None, set(ALL)),
    "touched": (_touch, set(ALL)),
    "untracked residue": (_residue, set(ALL)),
    "edited": (lambda root: (root / "a.txt").write_text("edited"), set(ALL)),
    "edited, same size and time": (_same_size_and_time, set(ALL)),
    "edited and staged": (lambda root: _stage(root, "a.txt", "staged"), set(ALL)),
    "staged only": (_staged_only, set(ALL)),
    "new and staged": (lambda root: _stage(root, "new.txt", "new"), {*ALL, "new.txt"}),
    "intended to be added": (
        lambda root: ((root / "new.txt").write_text("new"), run(root, "add", "-N", "new.txt")), {*ALL, "new.txt"},
    ),
    "mode only": (lambda root: (root / "a.txt").chmod(0o755), set(ALL)),
    "mode taken away": (lambda root: (root / "run.sh").chmod(0o644), set(ALL)),
    "group and others": (lambda root: (root / "a.txt").chmod(0o666), set(ALL)),
    "deleted": (lambda root: (root / "a.txt").unlink(), set(ALL) - {"a.txt"}),
    "deleted and staged": (lambda root: run(root, "rm", "-q", "a.txt"), set(ALL) - {"a.txt"}),
    "taken out of the index": (lambda root: run(root, "rm", "-q", "--cached", "a.txt"), set(ALL) - {"a.txt"}),
    "renamed": (lambda root: run(root, "mv", "a.txt", "z.txt"), set(ALL) - {"a.txt"} | {"z.txt"}),
    "a folder deleted": (_no_folder, set(ALL) - {"d/e/deep"}),
    "file to link": (_to_link, set(ALL)),
    "link target": (_link_elsewhere, set(ALL)),
    "dangling link deleted": (lambda root: (root / "nowhere").unlink(), set(ALL) - {"nowhere"}),
    "assume-unchanged": (_hidden("--assume-unchanged"), set(ALL) - {"d/e/deep"}),
    "skip-worktree": (_hidden("--skip-worktree"), set(ALL) - {"d/e/deep"}),
    "sparse checkout": (_sparse, {"a.txt", "d/e/deep"}),
    "file mode off": (_file_mode_off, set(ALL)),
    "ident attribute": (lambda root: (root / ".gitattributes").write_text("* ident\n"), set(ALL)),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_the_working_tree_counts_whatever_git_was_told(repo: Path, name: str) -> None:
    """Without a cache, with an old one, with one made after the edit, and again: always what is on disk."""
    old: dict[str, str] = {}
    look(repo, old)
    assert old, "the cache learned nothing, so this test proves nothing"
    change, there = EDITS[name]
    change(repo)
    truth = on_disk(repo, *there)
    after: dict[str, str] = {}
    assert look(repo) == truth
    assert look(repo, old) == truth
    assert look(repo, after) == truth
    assert look(repo, after) == truth


def test_the_cache_survives_history(repo: Path) -> None:
    """Edits, commits, checkouts and a reset: a stale cache cannot lie."""
    hashes: dict[str, str] = {}
    first = run(repo, "rev-parse", "HEAD")
    for text in ("one\n", "two\n", "a\n"):
        look(repo, hashes)
        (repo / "a.txt").write_text(text)
        assert look(repo, hashes) == on_disk(repo, *ALL)
        commit(repo)
        assert look(repo, hashes) == on_disk(repo, *ALL)
    run(repo, "checkout", "-q", first)
    assert look(repo, hashes) == on_disk(repo, *ALL)


def test_a_commit_is_no_input(repo: Path) -> None:
    before = look(repo)
    commit(repo, "an empty commit")
    run(repo, "commit", "-q", "--allow-empty", "--amend", "-m", "other words")
    assert look(repo) == before


def test_untracked_files_count_only_where_they_are_named(repo: Path) -> None:
    _residue(repo)
    assert look(repo, None, "d/residue.o") == on_disk(repo, "d/residue.o")
    assert look(repo, None, "d/residue.o", "d/e") == on_disk(repo, "d/residue.o", "d/e/deep")
    assert "d/residue.o" not in look(repo, None, "d")
    for name in ("build", "build/o*"):
        with pytest.raises(ConfigError):
            look(repo, None, name)


def test_a_tree_may_begin_below_the_top(repo: Path) -> None:
    assert look(repo / "d") == on_disk(repo / "d", *(name[2:] for name in CONTENT if name.startswith("d/")))


# --- filters --------------------------------------------------------------------------------


def _autocrlf(root: Path) -> None:
    run(root, "config", "core.autocrlf", "true")


def _attributes(root: Path) -> None:
    (root / ".gitattributes").write_text("*.txt text eol=crlf\n")


def _info(root: Path) -> None:
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/attributes").write_text("*.txt text eol=crlf\n")


def _user(root: Path) -> None:
    folder = root.parent / "home/.config/git"
    folder.mkdir(parents=True)
    (folder / "attributes").write_text("*.txt text eol=crlf\n")


def _filter(root: Path) -> None:
    run(root, "config", "filter.shout.smudge", "tr a-z A-Z")
    run(root, "config", "filter.shout.clean", "tr A-Z a-z")
    (root / ".gitattributes").write_text("*.txt filter=shout\n")


@pytest.mark.parametrize("arrange", [_autocrlf, _attributes, _info, _user, _filter])
def test_filters_hash_the_working_tree_and_not_the_blobs(repo: Path, arrange: Callable[[Path], None]) -> None:
    """A cache from before the filter knows the blob by other bytes than those on disk now."""
    hashes: dict[str, str] = {}
    before = look(repo, hashes)
    arrange(repo)
    for name in ("a.txt", "d/b c.txt"):
        (repo / name).unlink()
    run(repo, "checkout", "-q", "--", "a.txt", "d/b c.txt")
    assert (repo / "a.txt").read_bytes() in {b"a\r\n", b"A\n"}
    assert run(repo, "diff", "--name-only") == ""
    found = look(repo, hashes)
    assert found == look(repo) == on_disk(repo, *ALL)
    assert found["a.txt"] != before["a.txt"]


def test_filters_count_in_a_linked_worktree(repo: Path, tmp_path: Path) -> None:
    hashes: dict[str, str] = {}
    look(repo, hashes)
    _info(repo)
    run(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
    assert (tmp_path / "linked/a.txt").read_bytes() == b"a\r\n"
    assert look(tmp_path / "linked", hashes) == on_disk(tmp_path / "linked", *ALL)


# --- submodules, conflicts, no git ----------------------------------------------------------


def test_a_submodule_is_refused_only_where_it_is_selected(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q")
    (other / "file").write_text("x")
    commit(other)
    run(repo, "submodule", "add", "-q", str(other), "sub/mod")
    commit(repo)
    assert look(repo, None, "a.txt") == on_disk(repo, "a.txt")
    for source in (".", "sub", "sub/mod"):
        with pytest.raises(ConfigError) as caught:
            look(repo, None, source)
        problem = caught.value.problems[0]
        assert (problem.reference, "--source mod=sub/mod" in problem.hint) == ("submodule", True)
    (repo / ".dockerignore").write_text("sub\n")
    assert "a.txt" in look(repo)


def test_a_merge_conflict_is_refused(repo: Path) -> None:
    run(repo, "checkout", "-q", "-b", "side")
    (repo / "a.txt").write_text("side")
    commit(repo)
    run(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text("main")
    commit(repo)
    subprocess.run(["git", "merge", "-q", "side"], cwd=repo, capture_output=True, check=False)
    with pytest.raises(ConfigError, match="in conflict"):
        look(repo)


def test_a_folder_outside_of_git_counts_whole(tmp_path: Path) -> None:
    (tmp_path / "plain/d").mkdir(parents=True)
    (tmp_path / "plain/d/x").write_text("x")
    assert look(tmp_path / "plain") == on_disk(tmp_path / "plain", "d/x")
    assert git.toplevel(tmp_path / "plain") is None
    assert git.head(tmp_path / "plain") is None


def test_the_head_and_its_marks(repo: Path, tmp_path: Path) -> None:
    first = run(repo, "rev-parse", "HEAD")
    assert git.head(repo / "d") == git.Head(first, dirty=False, shallow=False)
    (repo / "a.txt").write_text("edited")
    assert git.head(repo) == git.Head(first, dirty=True, shallow=False)
    second = commit(repo)
    run(tmp_path, "clone", "-q", "--depth=1", repo.as_uri(), "shallow")
    assert git.head(tmp_path / "shallow") == git.Head(second, dirty=False, shallow=True)
    run(tmp_path, "init", "-q", "empty")
    assert git.head(tmp_path / "empty") is None


# --- two clones agree -----------------------------------------------------------------------

IDENTITY = """
import json, sys
from pathlib import Path
from ci.build import plan
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent
from ci.build.roots import Made
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
top = Path(sys.argv[1])
stack = stacks.load(str(top / "recipe/tiny.yaml"))
args = resolve_args(stack, capture({}, {}), stacks.archs())
trees = {RECIPE: Tree(RECIPE, top / "recipe", {}), "src": Tree("src", top / "src", {})}
made = plan.make(stack, ("test",), args, trees, roots={"busy": Made("r", "sha256:1", "t")},
                 lookup=lambda *_: Absent(), last=lambda _: None)
print(json.dumps({tier.name: tier.identity for tier in made.tiers}))
"""


def identities(top: Path, **environ: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "GIT_CONFIG_NOSYSTEM")}
    done = subprocess.run(
        [sys.executable, "-c", IDENTITY, str(top)],
        env={**kept, "PYTHONPATH": str(ROOT), **environ}, cwd=top, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The tiny recipe and its source in one repository, with a name that is not ASCII."""
    top = tmp_path / "origin"
    recipes.write(top)
    (top / "recipe/scripts/übung.sh").write_text("echo ü\n")
    run(top, "init", "-q")
    commit(top)
    return top


def test_two_clones_with_other_umask_path_and_locale_agree(origin: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run(tmp_path, "clone", "-q", str(origin), "one")
        os.umask(0o002)
        (tmp_path / "a longer path").mkdir()
        run(tmp_path, "clone", "-q", str(origin), "a longer path/zwei")
    finally:
        os.umask(before)
    one, two = tmp_path / "one", tmp_path / "a longer path/zwei"
    assert (one / "recipe/first.txt").stat().st_mode != (two / "recipe/first.txt").stat().st_mode
    expected = identities(origin, LANG="C.UTF-8")
    assert set(expected) == {"base", "ci-base", "test"}
    for locale in ({"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "C.UTF-8"}, {"LANG": "de_DE.UTF-8"}):
        assert identities(one, **locale) == expected, locale
        assert identities(two, **locale) == expected, locale


# --- explain --against COMMIT ---------------------------------------------------------------


def workspace(top: Path, state: Path, environ: dict[str, str] | None = None) -> Workspace:
    settings = capture({}, environ or {})
    stack = stacks.load(str(top / "recipe/tiny.yaml"))
    trees = {RECIPE: Tree(RECIPE, top / "recipe", {}), "src": Tree("src", top / "src", {})}
    busy = reference(stack, stack.roots["busy"])
    engine = FakeEngine(images={busy: image("sha256:" + "1" * 64, layers=("sha256:2",))})
    args = resolve_args(stack, settings, stacks.archs())
    return Workspace(settings, stack, args, trees, engine, None, None, state, Records(state), SystemClock())


def manifest_identity(top: Path, state: Path, tier: str = "test") -> str:
    """The identity of what is checked out at ``top``."""
    return explain(workspace(top, state), tier, "").identity


@pytest.mark.parametrize("how", ["plain", "from a folder below a link", "attributes changed", "autocrlf", "sparse"])
def test_explain_against_a_commit_is_that_commit_checked_out(origin: Path, tmp_path: Path, how: str) -> None:
    top, state = origin, tmp_path / "state"
    if how == "attributes changed":
        (top / ".gitattributes").write_text("*.txt text eol=crlf\n")
    first = commit(top, "first")
    if how == "attributes changed":
        (top / ".gitattributes").unlink()
    if how == "autocrlf":
        run(top, "config", "core.autocrlf", "true")
    (top / "recipe/scripts/b.sh").write_text("echo changed\n")
    (top / "recipe/scripts/a.sh").chmod(0o644)
    (top / "recipe/second.txt").write_text("edited")
    (top / "recipe/scripts/new.sh").write_text("new\n")
    commit(top, "second")
    (top / "recipe/test.txt").write_text("not committed")
    (top / "recipe/scripts/residue").write_text("untracked")
    if how == "sparse":
        run(top, "sparse-checkout", "set", "--no-cone", "/recipe/", "/src/lib/")
    # Nothing is checked out before: git would leave a file with an unchanged blob as an older attribute wrote it.
    run(
        tmp_path,
        "clone",
        "-q",
        "--no-checkout",
        *(["-c", "core.autocrlf=true"] if how == "autocrlf" else []),
        str(top),
        "then",
    )
    run(tmp_path / "then", "checkout", "-q", first)
    if how == "from a folder below a link":
        (tmp_path / "way").symlink_to(top)
        top = tmp_path / "way"
    before = (top / ".git/index").read_bytes()
    for tier in ("base", "ci-base", "test"):
        found = explain(workspace(top, state), tier, first)
        assert found.before == manifest_identity(tmp_path / "then", state, tier)
        assert (found.against, found.same) == (f"commit {first}", False)
    names = {(change.kind, change.name) for change in explain(workspace(top, state), "base", first).changes}
    assert {("file", f"recipe:scripts/{name}") for name in ("a.sh", "b.sh", "new.sh")} <= names
    assert (top / ".git/index").read_bytes() == before, "the repository stays as it is"
    same = explain(workspace(tmp_path / "then", state), "test", first)
    assert (same.same, same.changes) == (True, ())


@pytest.mark.parametrize("name", ["nothing", "0" * 40, "-x", "--empty", "HEAD~9", "a**b", "/abs", "[", "*"])
def test_a_commit_that_is_not_there(origin: Path, tmp_path: Path, name: str) -> None:
    problem = refusal(lambda: explain(workspace(origin, tmp_path / "state"), "test", name))
    assert (problem.reference, name in problem.message) == ("no-commit", True)


def test_a_commit_without_the_recipe(origin: Path, tmp_path: Path) -> None:
    run(origin, "checkout", "-q", "--orphan", "bare")
    run(origin, "rm", "-rfq", ".")
    (origin / "README").write_text("x")
    bare = commit(origin)
    run(origin, "checkout", "-q", "main")
    problem = refusal(lambda: explain(workspace(origin, tmp_path / "state"), "test", bare))
    assert problem.reference == "no-recipe"


def refusal(step: Callable[[], Any]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        step()
    return caught.value.problems[0]


def test_explain_without_anything_to_compare_with(origin: Path, tmp_path: Path) -> None:
    found = explain(workspace(origin, tmp_path / "state"), "test", "")
    assert (found.same, found.changes, bool(found.identity)) == (None, (), True)


def test_explain_against_the_last_build_and_an_identity(origin: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    before = manifest_identity(origin, state, "base")
    work = workspace(origin, state)
    plan = work.plan(("base",))
    (row,) = plan.tiers
    assert row.inputs.manifest is not None
    work.records.save("tiny", "base", row.inputs.manifest)
    (origin / "recipe/scripts/b.sh").write_text("echo other\n")
    for against in ("", before, before[:9], f"rocm-ci-test/tiny:base-v1-{before}"):
        found = explain(workspace(origin, state), "base", against)
        assert (found.before, found.same) == (before, False)
        assert [(change.kind, change.name) for change in found.changes] == [("file", "recipe:scripts/b.sh")]
