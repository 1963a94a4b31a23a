"""What pytest would collect, as far as the text of the files says it for certain; nothing is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from .pytest_words import Asked, Operand
from .tree import Tree

_TEST_FILE = re.compile(r"(?:.*/)?(?:test_[^/]*|[^/]*_test)\.py")
_SURELY = re.compile(r"^(?:async[ \t]+)?def test", re.MULTILINE)
_MADE = re.compile(r"\b(globals|locals|exec|setattr)\(|^[ \t]*from\s+\S+\s+import\s+\*|__getattr__", re.MULTILINE)
# pytest_collection_modifyitems sorts and drops what was found: where nothing was, nothing comes of it.
_HOOKS = re.compile(r"pytest_collect_file|pytest_pycollect_|pytest_collection\b|pytest_itemcollected")
_NAMED_AT_RUN = re.compile(r"parametrize|pytest_generate_tests|params\s*=|import\s+\*|pytest_plugins|subtests")
_SETTINGS = re.compile(r"python_(?:files|classes|functions)")
_SETTINGS_FILES = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_EXPRESSION = re.compile(r"[\w()\s]+", re.ASCII)


def is_test_file(path: str) -> bool:
    """Whether pytest takes a file of that name out of a folder."""
    return _TEST_FILE.fullmatch(path) is not None


def nothing(tree: Tree, asked: Asked, operand: Operand, path: str) -> str:
    """Why pytest would surely collect nothing for an operand that stands for ``path``; empty where it may."""
    if not asked.plain or _hooked(tree, path):
        return ""
    if path in tree.files:
        return _why(tree, asked, operand, [path]) if path.endswith(".py") else ""
    files = [each for each in tree.below(path) if is_test_file(each)]
    if path in tree.folders and not files:
        return "no file below it is called test_*.py or *_test.py"
    return _why(tree, asked, operand, files) if files else ""


def _why(tree: Tree, asked: Asked, operand: Operand, files: list[str]) -> str:
    if operand.names:
        found = any(_has(tree.text(each), operand.names) for each in files)
        return "" if found else f"it has no {'::'.join(operand.names)}"
    if not any(_collects(tree.text(each)) for each in files):
        return "no test function and no test class stands in it"
    if asked.keyword and not _selects(tree, asked.keyword, files):
        return f"-k {asked.keyword!r} names nothing in it"
    return ""


def has(tree: Tree, path: str, names: tuple[str, ...]) -> bool:
    """Whether a file may have the test or class of these names; unsure is yes."""
    return not path.endswith(".py") or _hooked(tree, path) or _has(tree.text(path), names)


def _hooked(tree: Tree, path: str) -> bool:
    """Whether a conftest.py or a setting on the way to ``path`` changes what is a test."""
    folder = path if path in tree.folders else path.rpartition("/")[0]
    return any(_changes(tree, each) for each in _upward(folder))


def _upward(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


@lru_cache(maxsize=4096)
def _changes(tree: Tree, folder: str) -> bool:
    prefix = f"{folder}/" if folder else ""
    if _HOOKS.search(_text(tree, f"{prefix}conftest.py")):
        return True
    return any(_SETTINGS.search(_text(tree, prefix + name)) for name in _SETTINGS_FILES)


def _text(tree: Tree, path: str) -> str:
    return tree.text(path) if path in tree.files else ""


# --- one file ---------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _module(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _collects(text: str) -> bool:
    """Whether a file may have a test; unsure is yes."""
    if _SURELY.search(text) or _MADE.search(text):
        return True
    module = _module(text)
    return module is None or any(_is_test(name, node) for name, node in _bound(module.body))


def _is_test(name: str, node: ast.stmt) -> bool:
    if not isinstance(node, ast.ClassDef):
        return name.startswith(("test", "Test"))
    bases = [ast.unparse(each) for each in node.bases]
    own = any(inner.startswith("test") for inner, _ in _bound(node.body))
    if name.startswith("Test"):
        return own or any(base != "object" for base in bases) or bool(node.keywords)
    return any("Test" in base for base in bases) or (own and bool(bases))


def _bound(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Every name that statements bind, those inside of ``if``, ``try``, ``with`` and loops too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
            yield from ((each.id, node) for each in names)
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                for inner in getattr(node, field, ()):
                    yield from _bound(inner.body if isinstance(inner, ast.ExceptHandler | ast.match_case) else [inner])


def _has(text: str, names: tuple[str, ...]) -> bool:
    """Whether these names may lead to a test; what is inherited or made at run time may."""
    module = _module(text)
    if module is None or _MADE.search(text):
        return True
    body: Iterable[ast.stmt] = module.body
    for name in names:
        found = [node for bound, node in _bound(body) if bound == name]
        if not found:
            return False
        node = found[-1]
        if not isinstance(node, ast.ClassDef) or node.bases or node.decorator_list:
            return True
        body = node.body
    return True


# --- keywords ---------------------------------------------------------------------------------------


def _selects(tree: Tree, keyword: str, files: list[str]) -> bool:
    """Whether ``-k`` may select something of ``files``: each of its words is looked for in their names and texts."""
    if not _EXPRESSION.fullmatch(keyword) or any(_made_up(tree, each) for each in files):
        return True
    words = {word for word in re.findall(r"\w+", keyword) if word not in {"and", "or", "not"}}
    texts = [(each.lower(), tree.text(each).lower()) for each in files]
    known = {word: any(word.lower() in path or word.lower() in text for path, text in texts) for word in words}
    try:
        node = ast.parse(re.sub(r"\b(?!and\b|or\b|not\b)(\w+)", r"k_\1", keyword.strip()), mode="eval").body
    except SyntaxError:
        return True
    return _value(node, known) is not False


def _made_up(tree: Tree, path: str) -> bool:
    """Whether names of its tests may come from elsewhere: parameters, fixtures, base classes."""
    folders = _upward(path.rpartition("/")[0])
    texts = [tree.text(path), *(_text(tree, f"{each}/conftest.py".lstrip("/")) for each in folders)]
    if any(_NAMED_AT_RUN.search(text) or _MADE.search(text) for text in texts):
        return True
    module = _module(texts[0])
    return module is None or any(isinstance(node, ast.ClassDef) and node.bases for _, node in _bound(module.body))


def _value(node: ast.expr, known: dict[str, bool]) -> bool | None:
    """False where an expression can select nothing, True where it has to, None where nobody knows."""
    if isinstance(node, ast.Name):
        return None if known[node.id.removeprefix("k_")] else False
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, known)
        return None if inner is None else not inner
    if isinstance(node, ast.BoolOp):
        values = [_value(each, known) for each in node.values]
        least = isinstance(node.op, ast.And)
        if any(value is (not least) for value in values):
            return not least
        return least if all(value is least for value in values) else None
    return None
