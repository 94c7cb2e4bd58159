"""Which kind of file system a run directory lies on, and whether a study may be written there.

SQLite and the study's lock need locks and renames that hold. On a network they may hold for the
processes of one machine only, so there the file beside the lock says which machine has it.
"""

import re
from pathlib import Path

from hpsearch.errors import StudyError

MOUNTS = Path("/proc/self/mountinfo")  # Linux's

_WITHOUT_LOCKS = {  # no locks between machines, or renames and syncs that promise nothing
    *("cifs", "smb3", "smbfs", "vboxsf", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"),
    *("fuse.rclone", "fuse.goofys", "fuse.blobfuse", "fuse.blobfuse2", "fuse.davfs"),
}
_OF_A_NETWORK = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "glusterfs"),
    *("fuse.glusterfs", "afs", "orangefs", "pvfs2", "9p", "fuse.juicefs", "ocfs2", "gfs2"),
}


def file_system_of(path: Path) -> str | None:
    """The type of the file system that holds a path, such as `ext4`; None where none is known."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, found, deepest = path.resolve(), None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mounted = Path(_unescaped(fields[4]))
        depth = len(mounted.parts)
        if place.is_relative_to(mounted) and depth >= deepest:  # the last mount covers the earlier
            found, deepest = after.split(" ")[0], depth
    return found


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


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
