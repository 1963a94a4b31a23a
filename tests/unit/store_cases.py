"""What a place promises, as one table: for a folder in the unit tests, for a bucket in the engine tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.world.store import Store

Case = Callable[[Store, Path], None]
AT_ONCE = 8


def at_the_same_moment(act: Callable[[int], bool]) -> list[int]:
    """Let eight threads act at once; the numbers of those to whom it said True."""
    start = threading.Barrier(AT_ONCE)
    done: list[tuple[int, bool]] = []

    def work(number: int) -> None:
        start.wait(30)
        done.append((number, act(number)))

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) == AT_ONCE, "one raised"
    return [number for number, won in done if won]


def paths(store: Store, prefix: str = "") -> list[str]:
    return sorted(found.path for found in store.below(prefix))


def marked(store: Store, path: str) -> str:
    found = store.fetch(path)
    assert found is not None
    return found[1]


def nothing_is_there(store: Store, _folder: Path) -> None:
    store.write("a/b", b"")
    for path in ("x", "a", "a/x", "a/b/c"):
        assert (store.fetch(path), store.read(path), store.stored(path)) == (None, None, None), path
    assert store.fetch("a/b") == (b"", marked(store, "a/b")), "empty is not nothing"


def created_once(store: Store, _folder: Path) -> None:
    assert store.create("deep/down/one", b"first")
    assert not store.create("deep/down/one", b"second")
    assert store.read("deep/down/one") == b"first"
    assert store.create("deep/down/one", b"first"), "the very same bytes were ours"
    assert paths(store) == ["deep/down/one"]


def created_once_by_many(store: Store, _folder: Path) -> None:
    for turn in range(5):
        (winner,) = at_the_same_moment(lambda number, turn=turn: store.create(f"{turn}", b"run %d" % number))  # type: ignore[misc]
        assert store.read(f"{turn}") == b"run %d" % winner


def swapped(store: Store, _folder: Path) -> None:
    assert not store.swap("one", b"x", "mark"), "nothing is there"
    assert store.create("one", b"first")
    mark = marked(store, "one")
    assert store.swap("one", b"second", mark)
    assert not store.swap("one", b"third", mark), "stale"
    assert store.read("one") == b"second"
    assert store.swap("one", b"second", mark), "the very same bytes were ours"
    assert store.swap("one", b"third", marked(store, "one"))
    store.remove("one")
    assert not store.swap("one", b"fourth", mark)
    assert store.read("one") is None


def swapped_once_by_many(store: Store, _folder: Path) -> None:
    store.write("one", b"")
    for turn in range(5):
        mark = marked(store, "one")
        (winner,) = at_the_same_moment(
            lambda number, mark=mark, turn=turn: store.swap("one", b"%d %d" % (turn, number), mark)  # type: ignore[misc]
        )
        assert store.read("one") == b"%d %d" % (turn, winner)


def no_swap_is_lost(store: Store, _folder: Path) -> None:
    store.write("names", b"")

    def add(number: int) -> bool:
        while True:
            found = store.fetch("names")
            assert found
            if store.swap("names", found[0] + b"%d" % number, found[1]):
                return True

    at_the_same_moment(add)
    assert sorted(store.read("names") or b"") == sorted(b"01234567")


def copied(store: Store, _folder: Path) -> None:
    store.write("a/one", b"1")
    store.copy("a/one", "b/c/two")
    store.write("a/one", b"changed")
    assert store.read("b/c/two") == b"1"
    store.copy("a/one", "b/c/two")
    assert store.read("b/c/two") == b"changed"
    with pytest.raises(InfraError):
        store.copy("nowhere", "b/c/two")
    assert store.read("b/c/two") == b"changed"


def listed_below(store: Store, _folder: Path) -> None:
    for path in ("nightly/a", "nightly/b/c", "nightly-x/d", "nightly.json", "nightly/.ours/e", "nightly/b/.f", ".g"):
        store.write(path, path.encode())
    assert paths(store, "nightly") == paths(store, "nightly/") == ["nightly/a", "nightly/b/c"]
    assert paths(store) == ["nightly-x/d", "nightly.json", "nightly/a", "nightly/b/c"]
    assert paths(store, "nightl") == paths(store, "nowhere") == paths(store, "nightly.json") == []
    (found,) = store.below("nightly/b")
    assert (found.size, found) == (len("nightly/b/c"), store.stored("nightly/b/c"))


def within_a_folder(store: Store, _folder: Path) -> None:
    inside = store.within("channel").within("commit")
    assert paths(inside) == []
    assert inside.fetch("x") is None
    assert inside.create("x", b"1")
    assert store.read("channel/commit/x") == b"1"
    assert paths(inside) == ["x"]
    assert paths(store, "channel") == ["channel/commit/x"]
    assert inside.url == f"{store.url}/channel/commit"
    assert inside.name == f"{store.name}/channel/commit"


def pages_within(store: Store, _folder: Path) -> None:
    inside = store.within("commit")
    inside.publish({"index.html": b"a", "p/index.html": b"b", "q/index.html": b"c"})
    assert store.read("commit/simple/p/index.html") == b"b"
    assert paths(store, "commit/simple") == [f"commit/simple/{page}index.html" for page in ("", "p/", "q/")]
    inside.publish({"index.html": b"new", "p/index.html": b"b"})
    assert paths(store, "commit") == ["commit/simple/index.html", "commit/simple/p/index.html"]
    for found in list(store.below("commit")):
        store.remove(found.path)
    assert paths(store, "commit") == []
    inside.publish({"index.html": b"new", "p/index.html": b"b"})
    assert store.read("commit/simple/index.html") == b"new", "what was removed below it is noticed"


def removed(store: Store, _folder: Path) -> None:
    store.write("a/one", b"1")
    store.write("a/two", b"2")
    for path in ("a/one", "a/one", "a/one/below", "nowhere/at/all"):
        store.remove(path)
    assert paths(store) == ["a/two"]


def discarded(store: Store, _folder: Path) -> None:
    for path in ("set/a", "set/b/c", "set/.ours/d", "set-x/e", "set.json"):
        store.write(path, b"")
    store.within("set").publish({"index.html": b"1"})
    for _ in range(2):
        store.discard("set")
        assert paths(store) == ["set-x/e", "set.json"]
        assert store.read("set/.ours/d") is None
    store.discard("nowhere")
    store.within("set").publish({"index.html": b"2"})
    assert paths(store, "set") == ["set/simple/index.html"]


def many_taken(store: Store, folder: Path) -> None:
    items = []
    for number in range(5):
        (folder / f"{number}.whl").write_bytes(bytes([number]) * 1000 * number)
        items.append((folder / f"{number}.whl", f"set/{number}/{number}.whl"))
    said: list[str] = []
    store.take_all(items, said.append)
    assert {path: store.read(path) for _, path in items} == {path: source.read_bytes() for source, path in items}
    assert [line.partition(" files, ")[0] for line in said] == [f"{number} of 5" for number in range(1, 6)]
    assert said[-1] == "5 of 5 files, 10 kB of 10 kB"
    store.take_all([], said.append)
    (folder / "4.whl").write_bytes(b"other")
    store.take(*items[4])
    assert store.read("set/4/4.whl") == b"other"
    with pytest.raises(InfraError, match=r"absent\.whl"):
        store.take(folder / "absent.whl", "set/absent.whl")


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        nothing_is_there, created_once, created_once_by_many, swapped, swapped_once_by_many, no_swap_is_lost, copied,
        listed_below, within_a_folder, pages_within, removed, discarded, many_taken,
    )
}  # fmt: skip
