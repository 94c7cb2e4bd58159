"""Counts what happens in a folder, from outside: Linux's inotify, without a package for it."""

import ctypes
import os
import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x8, 0x40, 0x80
_CREATE, _DELETE, _IS_DIR, _ONLY_DIR = 0x100, 0x200, 0x40000000, 0x01000000
_MASK = _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_DIR
_HEADER = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Events in a folder and all that is below it, now or later."""

    def __init__(self, folder: Path) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: dict[int, Path] = {}
        self.count = 0
        self._add(folder)

    def until(self, count: int, seconds: float) -> None:
        """Return when so many events have been seen in all, or the time is up."""
        end = time.monotonic() + seconds
        while self.count < count and (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                self._read(count)

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, count: int) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            at += _HEADER.size + length
            self.count += 1
            if mask & _IS_DIR and mask & (_CREATE | _MOVED_TO) and watch in self._folders:
                self._add(self._folders[watch] / os.fsdecode(name))

    def _add(self, folder: Path) -> None:
        watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if watch < 0:  # it is gone again
            return
        self._folders[watch] = folder
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                self._add(entry)


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """A watch for the length of a block."""
    watch = Watch(folder)
    try:
        yield watch
    finally:
        watch.close()
