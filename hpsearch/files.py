"""Files and directories that appear whole or not at all.

Everything is written under a temporary name in the target's own folder, flushed to the disk and
then renamed, so that a kill, a full disk or a power cut leaves the old state or the new one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_TEMPORARY = ".tmp-"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; what the block writes there becomes `target` when it ends well.

    The temporary name keeps the target's suffix, for writers that look at it. An existing target is
    replaced. On an exception the temporary file is removed and the target is left as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(target)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        _name(error, target)
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def write_text_atomic(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, replacing it in one step."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def write_directory_atomic(target: Path) -> Iterator[Path]:
    """Yield a new temporary directory that becomes `target` when the block ends well.

    Raises:
        FileExistsError: `target` exists, before the block or by its end; it is left as it is.
    """
    _refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(target)
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        _refuse_existing(target)
        os.rename(temporary, target)
    except BaseException as error:
        _name(error, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(target.parent)


def remove_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` left behind. Only for the holder of its lock."""
    _remove(target.parent, f"-{target.name}")


def remove_leftovers_in(folder: Path) -> None:
    """The same for every target in `folder` itself."""
    _remove(folder, "")


def _remove(folder: Path, ending: str) -> None:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(_TEMPORARY) and entry.name.endswith(ending):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def printable(thing: object) -> str:
    """`str(thing)` on one line: line breaks, control characters and undecodable bytes escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(thing)
    )


def _temporary_name(target: Path) -> Path:
    return target.with_name(f"{_TEMPORARY}{uuid4().hex[:12]}-{target.name}")


def _name(error: BaseException, target: Path) -> None:
    """Say in an error of the system which file it is about: a full disk does not."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(target)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise FileExistsError(f"{printable(target)} exists already")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
