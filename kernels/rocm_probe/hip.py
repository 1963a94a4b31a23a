"""A thin launcher over ``libamdhip64``: devices, memory, code objects, launches and time, nothing more.

Every call is checked; an error carries the runtime's own words.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

NAMES = ("libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so")
BLOCK = 256
"""Threads of a block; the kernels are compiled for this many."""

PROPERTIES_SIZE, ARCH_OFFSET, ARCH_SIZE = 1472, 1160, 256
"""hipDeviceProp_tR0600, the structure of ROCm 6 and newer: its size, and where ``name`` (0) and ``gcnArchName`` lie."""

_TO_DEVICE, _TO_HOST = 1, 2
_PEER_ALREADY_ENABLED = 704
_POINTER, _SIZE, _END = 1, 2, 3
"""HIP_LAUNCH_PARAM_BUFFER_POINTER, _SIZE and _END of ``extra``."""


class HipError(Exception):
    """A call of the runtime failed; the text is the runtime's own."""


class NoRuntime(HipError):
    """The library cannot be loaded, or it finds no device."""


def load(names: tuple[str, ...] = NAMES, opener: Callable[[str], Any] = ctypes.CDLL) -> Any:
    """The first of the libraries that is there; ``NoRuntime`` with the loader's own words."""
    problem = ""
    for name in names:
        try:
            return opener(name)
        except OSError as error:
            problem = str(error)
    raise NoRuntime(problem)


class Hip:
    """The runtime; ``NoRuntime`` where it has no device."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._text = library.hipGetErrorString
        self._text.restype = ctypes.c_char_p
        code = library.hipInit(0)
        if code:
            raise NoRuntime(f"hipInit: {self._say(code)}")

    def _say(self, code: int) -> str:
        text = self._text(code)
        return f"{text.decode(errors='replace') if text else 'unknown error'} ({code})"

    def call(self, name: str, *arguments: Any) -> None:
        """Call the runtime; raises ``HipError`` for every code but 0."""
        function = getattr(self._library, name, None)
        if function is None:
            raise HipError(f"this libamdhip64 has no {name}; it is older than ROCm 6")
        code = function(*arguments)
        if code:
            raise HipError(f"{name}: {self._say(code)}")

    def count(self) -> int:
        """How many devices there are."""
        number = ctypes.c_int()
        self.call("hipGetDeviceCount", ctypes.byref(number))
        return number.value

    def describe(self, device: int) -> tuple[str, str]:
        """Name and full arch of a device, such as ``gfx942:sramecc+:xnack-``."""
        data = (ctypes.c_char * PROPERTIES_SIZE)()
        self.call("hipGetDevicePropertiesR0600", ctypes.byref(data), ctypes.c_int(device))
        arch = data.raw[ARCH_OFFSET : ARCH_OFFSET + ARCH_SIZE]
        return _text(data.raw[:256]), _text(arch)

    def use(self, device: int) -> None:
        """Make ``device`` the one that what follows is about."""
        self.call("hipSetDevice", ctypes.c_int(device))

    def let_read(self, reader: int, owner: int) -> bool:
        """Let device ``reader`` read the memory of ``owner``; False where the two have no link."""
        able = ctypes.c_int()
        self.call("hipDeviceCanAccessPeer", ctypes.byref(able), ctypes.c_int(reader), ctypes.c_int(owner))
        if not able.value:
            return False
        self.use(reader)
        code = self._library.hipDeviceEnablePeerAccess(ctypes.c_int(owner), ctypes.c_uint(0))
        if code not in {0, _PEER_ALREADY_ENABLED}:
            raise HipError(f"hipDeviceEnablePeerAccess: {self._say(code)}")
        return True

    @contextmanager
    def memory(self, size: int, content: bytes | None = None) -> Iterator[int]:
        """Memory of the current device, filled with ``content`` or zero; gives its address."""
        address = ctypes.c_void_p()
        self.call("hipMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        try:
            if content is None:
                self.call("hipMemset", address, ctypes.c_int(0), ctypes.c_size_t(size))
            else:
                self.call("hipMemcpy", address, content, ctypes.c_size_t(len(content)), ctypes.c_int(_TO_DEVICE))
            yield address.value or 0
        finally:
            with suppress(HipError):  # a device that failed frees nothing, and the first error is the one to tell
                self.call("hipFree", address)

    def read(self, address: int, size: int) -> bytes:
        """The bytes at an address of the device."""
        data = (ctypes.c_char * size)()
        self.call("hipMemcpy", data, ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(_TO_HOST))
        return data.raw

    @contextmanager
    def module(self, image: bytes) -> Iterator[Callable[[str], Any]]:
        """A code object, loaded; gives a function from a kernel's name to its handle."""
        handle = ctypes.c_void_p()
        self.call("hipModuleLoadData", ctypes.byref(handle), image)

        def find(name: str) -> Any:
            function = ctypes.c_void_p()
            self.call("hipModuleGetFunction", ctypes.byref(function), handle, name.encode())
            return function

        try:
            yield find
        finally:
            with suppress(HipError):
                self.call("hipModuleUnload", handle)

    def launch(self, function: Any, blocks: int, arguments: bytes) -> None:
        """Start ``blocks`` blocks of a kernel on the packed ``arguments``."""
        size = ctypes.c_size_t(len(arguments))
        block = ctypes.create_string_buffer(arguments, len(arguments))
        extra = (ctypes.c_void_p * 5)(
            _POINTER, ctypes.cast(block, ctypes.c_void_p), _SIZE, ctypes.cast(ctypes.byref(size), ctypes.c_void_p), _END
        )
        sizes = [ctypes.c_uint(number) for number in (blocks, 1, 1, BLOCK, 1, 1, 0)]
        self.call("hipModuleLaunchKernel", function, *sizes, ctypes.c_void_p(), ctypes.c_void_p(), extra)

    def finish(self) -> None:
        """Wait for what was started; a kernel that failed says so here."""
        self.call("hipDeviceSynchronize")

    def seconds(self, work: Callable[[], None]) -> float:
        """What the device took for ``work``, by its own clock."""
        begin, end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (begin, end):
            self.call("hipEventCreate", ctypes.byref(event))
        try:
            self.call("hipEventRecord", begin, ctypes.c_void_p())
            work()
            self.call("hipEventRecord", end, ctypes.c_void_p())
            self.call("hipEventSynchronize", end)
            passed = ctypes.c_float()
            self.call("hipEventElapsedTime", ctypes.byref(passed), begin, end)
            return passed.value / 1000
        finally:
            for event in (begin, end):
                with suppress(HipError):
                    self.call("hipEventDestroy", event)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
