"""A tree as an identity sees it; what git says of it is a fake here, see ``tests/engine/test_trees_git.py``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ci.errors import ConfigError, InfraError
from ci.recipe.dockerfile import FileNeed
from ci.recipe.tree import Tree
from ci.world import git
from ci.world.fakes import FakeRun

LIST = ("git", "-c", "core.fsmonitor=false", "-C", "{root}", "ls-files", "-z", "-v", "-s", "-c", "-m", "-d")
SETTINGS = ("git", "-C", "{root}", "config", "--get-regexp", r"^core\.(autocrlf|attributesfile|filemode|symlinks)$")


def need(*sources: str, **changes: object) -> FileNeed:
    return FileNeed("", sources, file="Dockerfile", line=3, how="copy", **changes)  # type: ignore[arg-type]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.txt", "d/b.txt", "d/c.md", "loose.txt", "d/loose.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


TRACKED = ("a.txt", "d/b.txt", "d/c.md")


def tracked(root: Path, *, changed: tuple[str, ...] = (), pure: bool = True) -> git.Tracked:
    blobs = {name: ("100644", git.blob_id(name.encode())) for name in TRACKED}
    return git.Tracked(root, blobs, frozenset(changed), pure)


def tree(root: Path, hashes: dict[str, str] | None = None, **changes: object) -> Tree:
    return Tree("recipe", root, {} if hashes is None else hashes, lambda at: tracked(at, **changes))  # type: ignore[arg-type]


def taken(at: Tree, *sources: str, ignore: tuple[str, ...] = (".dockerignore",)) -> list[str]:
    return list(at.select((need(*sources),), ignore))


def test_untracked_files_count_only_by_name(root: Path) -> None:
    assert taken(tree(root), ".") == list(TRACKED)
    assert taken(tree(root), "d") == ["d/b.txt", "d/c.md"]
    assert taken(tree(root), "*.txt") == ["a.txt"]
    assert taken(tree(root), "loose.txt") == ["loose.txt"]
    assert taken(tree(root), "d/loose.txt", "a.txt") == ["a.txt", "d/loose.txt"]


def test_a_name_of_one_need_is_no_file_of_another(root: Path) -> None:
    at = tree(root)
    assert list(at.select((need("loose.txt"), need("d")), ())) == ["d/b.txt", "d/c.md", "loose.txt"]


def test_every_source_that_is_missing_is_told(root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        tree(root).select((need("nowhere"), need("d"), need("a.txt", "neither")), ())
    assert [problem.reference for problem in caught.value.problems] == ["missing-source"] * 2


def test_without_git_everything_counts(root: Path) -> None:
    at = Tree("recipe", root, {}, lambda _root: None)
    assert taken(at, ".") == ["a.txt", "d/b.txt", "d/c.md", "d/loose.txt", "loose.txt"]


def test_dockerignore_counts_for_tracked_and_for_named_files(root: Path) -> None:
    (root / ".dockerignore").write_text("**/*.md\nloose.txt\n")
    assert taken(tree(root), ".") == ["a.txt", "d/b.txt"]
    for name in ("d/c.md", "loose.txt", "nowhere"):
        with pytest.raises(ConfigError) as caught:
            taken(tree(root), name)
        assert caught.value.problems[0].reference == "missing-source"
        assert str(caught.value.problems[0].place) == "Dockerfile:3"
    with pytest.raises(ConfigError):
        taken(Tree("recipe", root, {}, lambda _root: None), "loose.txt")


def test_the_first_ignore_file_that_exists_counts(root: Path) -> None:
    (root / ".dockerignore").write_text("d\n")
    (root / "Dockerfile.dockerignore").write_text("a.txt\n")
    at = tree(root)
    assert taken(at, ".", ignore=("Dockerfile.dockerignore", ".dockerignore")) == ["d/b.txt", "d/c.md"]
    assert taken(at, ".", ignore=(".dockerignore",)) == ["a.txt"]


def test_a_bad_ignore_pattern_names_its_file(root: Path) -> None:
    (root / "Dockerfile.dockerignore").write_text("a\n[\n")
    with pytest.raises(ConfigError) as caught:
        taken(tree(root), ".", ignore=("Dockerfile.dockerignore",))
    assert str(caught.value.problems[0].place) == "Dockerfile.dockerignore:2"


def test_the_hash_cache_is_filled_by_facts_only(root: Path) -> None:
    hashes: dict[str, str] = {}
    at = tree(root, hashes)
    (root / "a.txt").write_text("edited")
    taken(at, ".", "loose.txt")
    assert at.learned
    assert hashes == {git.blob_id(name.encode()): sha(name) for name in ("d/b.txt", "d/c.md")}


def test_a_known_blob_is_not_read_again(root: Path) -> None:
    hashes = {git.blob_id(b"a.txt"): sha("a.txt")}
    (root / "a.txt").unlink()
    entry = tree(root, hashes).select((need("a.txt"),), ())["a.txt"]
    assert (entry.mode, entry.sha256, entry.value) == ("0644", sha("a.txt"), f"0644 {sha('a.txt')}")


@pytest.mark.parametrize("changes", [{"changed": ("a.txt",)}, {"pure": False}])
def test_a_blob_git_does_not_vouch_for_is_read(root: Path, changes: dict[str, object]) -> None:
    hashes = {git.blob_id(b"a.txt"): sha("a.txt")}
    (root / "a.txt").write_text("edited")
    assert tree(root, hashes, **changes).select((need("a.txt"),), ())["a.txt"].sha256 == sha("edited")


def test_a_file_that_vanishes_is_an_error_not_a_traceback(root: Path) -> None:
    (root / "a.txt").unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        taken(tree(root), "a.txt")


def test_a_name_that_is_not_utf_8_is_refused_only_where_it_counts(root: Path) -> None:
    (root / "d" / "\udcff.txt").write_text("x")
    at = Tree("recipe", root, {}, lambda _root: None)
    assert taken(at, "a.txt") == ["a.txt"]
    with pytest.raises(ConfigError) as caught:
        taken(at, "d")
    assert caught.value.problems[0].reference == "file-name"
    caught.value.problems[0].message.encode()


# --- what git says ---------------------------------------------------------------------------


def said(root: Path, listing: str, settings: str = "core.filemode true\n") -> FakeRun:
    def at(argv: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.format(root=root) if word == "{root}" else word for word in argv)

    return FakeRun({at(LIST): (0, listing, ""), at(SETTINGS): (0, settings, "")})


def row(tag: str, path: str, mode: str = "100644", stage: int = 0) -> str:
    return f"{tag} {mode} {'1' * 40} {stage}\t{path}\0"


@pytest.mark.parametrize(
    ("rows", "there", "changed"),
    [
        ([("H", "a.txt")], True, False),
        ([("H", "a.txt"), ("C", "a.txt")], True, True),
        ([("H", "gone"), ("R", "gone"), ("C", "gone")], False, False),
        ([("h", "a.txt")], True, True),
        ([("h", "gone"), ("r", "gone")], False, False),
        ([("S", "a.txt")], True, True),
        ([("s", "a.txt")], True, True),
        ([("S", "gone")], False, False),
    ],
)
def test_the_tags_of_a_listing(root: Path, rows: list[tuple[str, str]], there: bool, changed: bool) -> None:
    (root / ".git").mkdir()
    found = git.tracked(root, said(root, "".join(row(*each) for each in [*rows, ("H", "d/b.txt")])))
    assert found is not None
    name = rows[0][1]
    assert (name in found.blobs, name in found.changed & found.blobs.keys()) == (there, changed)
    assert "d/b.txt" in found.blobs


@pytest.mark.parametrize(
    ("settings", "pure"),
    [
        ("core.filemode true\n", True),
        ("", True),
        ("core.autocrlf false\n", True),
        ("core.autocrlf true\n", False),
        ("core.autocrlf input\n", False),
        ("core.filemode true\ncore.filemode false\n", False),
        ("core.symlinks false\n", False),
        ("core.attributesfile ~/.gitattributes\n", False),
    ],
)
def test_settings_that_rewrite_files(root: Path, settings: str, pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root / "none"))
    (root / ".git").mkdir()
    found = git.tracked(root, said(root, row("H", "a.txt"), settings))
    assert found is not None
    assert found.pure is pure


@pytest.mark.parametrize("file", [".gitattributes", "d/.gitattributes", ".git/info/attributes", "xdg/git/attributes"])
@pytest.mark.parametrize(
    ("line", "pure"),
    [
        ("* text=auto", False), ("*.bin filter=lfs diff=lfs", False), ("*.sh eol=lf", False), ("a ident", False),
        ("# text", True), ("*.png binary", True), ("*.lock -diff", True), ("a export-ignore", True),
        ("*.u16 working-tree-encoding=UTF-16", False),
    ],
)  # fmt: skip
def test_attributes_that_rewrite_files(
    root: Path, file: str, line: str, pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root / "xdg"))
    (root / ".git/info").mkdir(parents=True)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(line + "\n")
    found = git.tracked(root, said(root, row("H", "a.txt") + row("H", "d/.gitattributes")))
    assert found is not None
    assert found.pure is pure


def test_a_conflict_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        git.tracked(root, said(root, row("M", "a.txt", stage=2)))
    assert caught.value.problems[0].reference == "merge-conflict"


def test_a_repository_git_cannot_read_is_no_plain_folder(root: Path) -> None:
    failing = FakeRun(
        {tuple(w.format(root=root) if w == "{root}" else w for w in LIST): (128, "", "dubious ownership")}
    )
    assert git.tracked(root, failing) is None
    (root / ".git").mkdir()
    with pytest.raises(InfraError) as caught:
        git.tracked(root, failing)
    assert "dubious ownership" in caught.value.problems[0].context


def test_a_folder_in_which_nothing_is_tracked(root: Path) -> None:
    assert git.tracked(root, said(root, "")) is None


def test_the_top_of_a_working_tree(root: Path) -> None:
    ask = ("git", "-C", str(root), "rev-parse", "--show-toplevel")
    assert git.toplevel(root, FakeRun({ask: (0, "/a b\n", "")})) == Path("/a b")
    assert git.toplevel(root, FakeRun({ask: (128, "", "not a repository")})) is None
