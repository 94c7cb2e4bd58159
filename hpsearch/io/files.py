"""Files: written whole or not at all, on a disk that can be relied on.

Everything is written under a temporary name in the target's own folder, flushed to the disk and
then renamed, so that a kill, a full disk or a power cut leaves the old state or the new one. SQLite
and a study's lock need locks and renames that hold. On a network they may hold for the processes
of one machine only, so there the file beside the lock says which machine has it.

Tables that people open are written by `write_csv`. Those that hpsearch reads back (`images.csv` and
`scores.csv` of a study, manifests) hold names as they are.
"""

import csv
import hashlib
import os
import platform
import re
import shutil
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from hpsearch.errors import DataError, StudyError
from hpsearch.io.text import guarded, printable

MOUNTS = Path("/proc/self/mountinfo")  # Linux's

_WITHOUT_LOCKS = {  # no locks between machines, or renames and syncs that promise nothing
    *("cifs", "smb3", "smbfs", "vboxsf", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"),
    *("fuse.rclone", "fuse.goofys", "fuse.blobfuse", "fuse.blobfuse2", "fuse.davfs"),
}
_OF_A_NETWORK = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "glusterfs"),
    *("fuse.glusterfs", "afs", "orangefs", "pvfs2", "9p", "fuse.juicefs", "ocfs2", "gfs2"),
}

_TEMPORARY = ".tmp-"
_NAME = re.compile(r"\.tmp-([0-9a-f]{6})-(\d+)-")  # host and process of the writer
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_LONGEST_WRITE = 24 * 3600  # seconds; of writers elsewhere nothing else tells whether they live

_writing: set[Path] = set()  # temporary names of this process
_tidied: set[Path] = set()  # folders in which this process has looked for leftovers

if TYPE_CHECKING:
    from pandas import DataFrame

# What decoders raise where the bytes are not what their format asks for.
_DAMAGE = (OSError, SyntaxError, EOFError, struct.error, zlib.error)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; what the block writes there becomes `target` when it ends well.

    The temporary name keeps the target's suffix, for writers that look at it. An existing target is
    replaced. On an exception the temporary file is removed and the target is left as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_name(target) as temporary:
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, target)
        except BaseException as error:
            _name(error, target)
            temporary.unlink(missing_ok=True)
            raise
    sync(target.parent)


def write_text_atomic(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, replacing it in one step."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_csv(
    target: Path, table: "DataFrame | Iterable[DataFrame]", *, quoted: bool = False
) -> None:
    """Write a table that people open as CSV, whole or not at all, its cells `guarded`.

    Bytes of a name that are no UTF-8 are written as they are. None becomes an empty cell.

    Args:
        target: the file.
        table: a table, or the blocks of a long one, one or more.
        quoted: quote every text, for names of images hold any character, a carriage return too.
    """
    from pandas import DataFrame, Series

    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if quoted else csv.QUOTE_MINIMAL
    with (
        atomic_path(target) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        for number, block in enumerate([table] if isinstance(table, DataFrame) else table):
            # As objects, or a whole number beside an empty cell would be written as 1.0.
            cells = {
                name: Series([guarded(cell) for cell in column], dtype=object)
                for name, column in block.astype(object).items()
            }
            frame = DataFrame(cells, columns=block.columns, dtype=object)
            frame.to_csv(
                file, index=False, header=number == 0, quoting=quoting, lineterminator="\n"
            )


@contextmanager
def write_directory_atomic(target: Path) -> Iterator[Path]:
    """Yield a new temporary directory that becomes `target` when the block ends well.

    Raises:
        FileExistsError: `target` exists, before the block or by its end; it is left as it is.
    """
    _refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_name(target) as temporary:
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    sync(Path(folder, name))
                sync(Path(folder))
            _refuse_existing(target)
            os.rename(temporary, target)
        except BaseException as error:
            _name(error, target)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    sync(target.parent)


def remove_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` left behind. Only for the holder of its lock."""
    if not target.parent.is_dir():
        return
    for entry in target.parent.iterdir():
        if entry.name.startswith(_TEMPORARY) and entry.name.endswith(f"-{target.name}"):
            remove(entry)


def tidy(folder: Path, *, locked: bool = False) -> None:
    """Remove from `folder` the temporary files whose writers are gone.

    Done by itself where a process writes to a folder for the first time.

    Args:
        folder: need not exist.
        locked: the caller holds the lock of everything in it, so that nobody else is writing.
    """
    try:
        entries = [entry for entry in folder.iterdir() if entry.name.startswith(_TEMPORARY)]
        for entry in entries:
            if (locked and entry not in _writing) or _is_abandoned(entry):
                remove(entry)
    except OSError:  # whatever keeps it from being tidied, what is written there will tell of
        return


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_system_of(path: Path) -> str | None:
    """The type of the file system that holds a path, such as `ext4`; None where none is known."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, kind, deepest = path.resolve(), None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        depth = len(mounted.parts)
        if place.is_relative_to(mounted) and depth >= deepest:  # the last mount covers the earlier
            kind, deepest = after.split(" ")[0], depth
    return kind


def is_shared(path: Path) -> bool:
    """Whether other machines may write there too.

    Raises:
        StudyError: the file system has no locks that a study can rely on.
    """
    kind = file_system_of(path)
    if kind in _WITHOUT_LOCKS:
        raise StudyError(
            f"{path}: is on a file system of type {kind}, which cannot lock a study's database; "
            "give --runs (HPSEARCH_RUNS) a folder of this machine's own disk"
        )
    return kind in _OF_A_NETWORK


def network_note(path: Path) -> str | None:
    """What to tell of a run directory that other machines may write to, None for a local one.

    Raises:
        StudyError: as `is_shared`.
    """
    if not is_shared(path):
        return None
    return (
        f"{path}: is on a network ({file_system_of(path)}): run a study there from one machine at "
        "a time; a folder of this machine's own disk is safer and faster"
    )


def bad_file(path: Path, what: str, remedy: str) -> DataError:
    """The error of a file, to be raised: its path, `what` it is or holds, and the `remedy`."""
    return DataError(f"{printable(path)}: {what}; {remedy}")


def undecoded(path: Path, kind: str, error: Exception) -> DataError:
    """The error of a file of a `kind` ("image", "DICOM file") whose decoder raised `error`.

    The file is called damaged only where the decoder said so: memory, permissions, disks and
    limits of a library are no fault of it.
    """
    if isinstance(error, MemoryError):
        return bad_file(path, "does not fit into memory", "cut it into tiles or free some memory")
    if isinstance(error, OSError) and error.errno is not None:
        return bad_file(path, f"cannot be read ({reason(error)})", "mend its permissions or disk")
    if isinstance(error, _DAMAGE):
        return bad_file(path, f"is a damaged {kind} ({reason(error)})", "replace or remove it")
    what = f"is a {kind} that cannot be decoded ({type(error).__name__}: {reason(error)})"
    return bad_file(path, what, "replace, convert or remove it")


def reason(error: Exception) -> str:
    """What a library said of a file, on one line of at most 200 characters."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(said.split())[:200])


@contextmanager
def _temporary_name(target: Path) -> Iterator[Path]:
    """A name beside `target` that tells who writes it, for as long as the block lasts."""
    folder = target.parent
    if folder not in _tidied:
        _tidied.add(folder)
        tidy(folder)
    temporary = folder / f"{_TEMPORARY}{_HOST}-{os.getpid()}-{uuid4().hex[:6]}-{target.name}"
    _writing.add(temporary)
    try:
        yield temporary
    finally:
        _writing.discard(temporary)


def _is_abandoned(temporary: Path) -> bool:
    writer = _NAME.match(temporary.name)
    if writer is None or writer[1] != _HOST:
        return time.time() - temporary.stat().st_mtime > _LONGEST_WRITE
    if int(writer[2]) == os.getpid():  # in a container each process may have the same number
        return temporary not in _writing
    try:
        os.kill(int(writer[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is another user's
        return False
    return False


def _name(error: BaseException, target: Path) -> None:
    """Say in an error of the system which file it is about: a full disk does not."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(target)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise FileExistsError(f"{printable(target)} exists already")
