"""An image as ``docker save`` gives it, layer by layer as the bytes arrive: nothing is unpacked to disk.

The archive has blobs in any order (an OCI layout): layers, plain or compressed, and small JSON documents.
What a layer replaces or deletes is seen as well, since whoever has the image has all of its layers.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple, Self

from ..errors import InfraError
from ..world.image_files import Pieces
from .scan import Kept

Look = Callable[[str, int, IO[bytes]], Kept | None]
"""Given a file's path, size and bytes: what the rules want of it. The bytes need not be read to their end."""

_BLOCK = 1 << 18
_MOST = 1 << 22
_DOCUMENT = 8 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NAMED = re.compile(r"[0-9a-f]{64}")
_ENDS = {"EOFHeaderError", "EmptyHeaderError"}
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class Entry(NamedTuple):
    """What a layer says of one path, which has no leading ``/``.

    ``kind`` is file, folder, link (``target`` as written), hard (``target`` is a path), gone (deleted),
    opaque (a folder without what lower layers had in it) or other.
    """

    path: str
    kind: str
    target: str = ""
    size: int = 0
    kept: Kept | None = None


class Layer(NamedTuple):
    """Entries in their order, and the bytes of the files in it."""

    entries: tuple[Entry, ...]
    size: int


class Saved(NamedTuple):
    """An image: its config document, and its layers from the root up."""

    config: Mapping[str, Any]
    layers: tuple[Layer, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """What made each layer, in the words of the image's history; empty where that has no word for it."""
        told = [
            str(row.get("created_by", "")) for row in self.config.get("history") or () if not row.get("empty_layer")
        ]
        return tuple(told) if len(told) == len(self.layers) else ("",) * len(self.layers)


def read(pieces: Iterator[bytes], look: Look) -> Saved:
    """The image in an archive; raises ``InfraError`` for one that breaks off or contradicts itself."""
    documents: dict[str, bytes] = {}
    layers: dict[str, Layer] = {}
    try:
        source = Pieces(pieces)
        for name, blob in _members(source):
            head = blob.read(512)
            layer = _layer(head, blob, look)
            if layer:
                layers[name] = layer
            elif blob.left <= _DOCUMENT:
                documents[name] = head + blob.read(_DOCUMENT)
            blob.verify(name)
        source.drain()
        return _assembled(documents, layers)
    except (tarfile.TarError, zlib.error, EOFError, KeyError, ValueError) as error:
        hint = "the connection was cut; run the same command again, or inv doctor"
        raise InfraError("engine-stream", f"the archive of the image cannot be read: {error}", hint=hint) from None


def _assembled(documents: Mapping[str, bytes], layers: Mapping[str, Layer]) -> Saved:
    for row in json.loads(documents["manifest.json"]):
        if row["Config"] in documents and all(name in layers for name in row["Layers"]):
            return Saved(json.loads(documents[row["Config"]]), tuple(layers[name] for name in row["Layers"]))
    raise EOFError("it has no whole image")


class _Strict(tarfile.TarInfo):
    """``tarfile`` takes a damaged header for the end of the archive: files behind it would go unseen."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ in _ENDS:
                raise
            raise EOFError(f"a damaged header: {error}") from None


class _Blob:
    """A blob as a stream that counts and hashes what is read of it."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.left = size

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        block = self._stream.read(size)
        self._hash.update(block)
        self.left -= len(block)
        return block

    def verify(self, name: str) -> None:
        """Read to the end; a blob is called by its hash."""
        while self.read(_BLOCK):
            pass
        said = posixpath.basename(name)
        if self.left or (_NAMED.fullmatch(said) and said != self._hash.hexdigest()):
            raise EOFError(f"{name} is not what its name says")


def _members(source: Pieces) -> Iterator[tuple[str, _Blob]]:
    with tarfile.open(fileobj=source, mode="r|", bufsize=_BLOCK, tarinfo=_Strict) as archive:
        while (member := archive.next()) is not None:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream:
                yield member.name, _Blob(stream, member.size)


def _layer(head: bytes, blob: _Blob, look: Look) -> Layer | None:
    """The layer that begins with ``head``; None for a document."""
    if head.startswith(_GZIP):
        blocks = _inflated(_after(head, blob))
    elif head.startswith(_ZSTD):
        blocks = _unzstd(_after(head, blob))
    elif head[257:262] == b"ustar" or (len(head) == 512 and not head.strip(b"\0")):
        blocks = _after(head, blob)
    else:
        return None
    return _entries(blocks, look)


def _after(head: bytes, blob: _Blob) -> Iterator[bytes]:
    yield head
    while block := blob.read(_BLOCK):
        yield block


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(31)
    begun = False
    for block in blocks:
        rest = block
        while rest:
            begun = True
            yield inflate.decompress(rest, _MOST)
            rest = inflate.unconsumed_tail
            if inflate.eof:
                rest = inflate.unused_data.lstrip(b"\0")
                inflate, begun = zlib.decompressobj(31), False
    if begun:
        raise EOFError("a layer ends in the middle")


def _unzstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    source: Any = Pieces(blocks)
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    try:
        with unpacker.stream_reader(source, read_across_frames=True) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from None


def _entries(blocks: Iterator[bytes], look: Look) -> Layer:
    found: list[Entry] = []
    with tarfile.open(fileobj=Pieces(blocks), mode="r|", bufsize=_BLOCK, tarinfo=_Strict) as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header
            found.append(_entry(archive, member, look))
        while rest := archive.fileobj.read(_BLOCK):
            if rest.strip(b"\0"):
                raise EOFError("a layer has bytes behind its end")
    return Layer(tuple(found), sum(entry.size for entry in found))


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, look: Look) -> Entry:
    path = _path(member.name)
    folder, _, name = path.rpartition("/")
    if name.startswith(_WHITEOUT):
        hidden = posixpath.join(folder, name.removeprefix(_WHITEOUT))
        return Entry(folder, "opaque") if name == _OPAQUE else Entry(hidden, "gone")
    if member.isdir():
        return Entry(path, "folder")
    if member.issym() or member.islnk():
        target = _text(member.linkname) if member.issym() else _path(member.linkname)
        return Entry(path, "link" if member.issym() else "hard", target)
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        return Entry(path, "other")
    return Entry(path, "file", "", member.size, look(path, member.size, stream))


def _path(name: str) -> str:
    return posixpath.normpath("/" + _text(name)).lstrip("/")


def _text(name: str) -> str:
    """Names need not be UTF-8; what is shown and written has to be."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
