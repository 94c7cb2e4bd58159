"""Run directories on network file systems, and the locks of other machines; all of them fake."""

import os
import platform
from pathlib import Path

import pytest

from hpsearch.errors import StudyError
from hpsearch.io.files import file_system_of, is_shared, network_note
from hpsearch.storage.database import sole_writer_of


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of mounts: a disk, and on it a share of each kind and a disk again on one of them."""
    shares = {"nfs4": "nfs4", "my share": "cifs", "ssh": "fuse.sshfs", "scratch": "lustre"}
    lines = ["22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw"]
    for number, (name, kind) in enumerate(shares.items(), 30):
        (tmp_path / name).mkdir()
        place = str(tmp_path / name).replace(" ", "\\040")
        lines.append(f"{number} 22 0:{number} / {place} rw,relatime - {kind} server:/x rw")
    lines.append(f"40 30 7:0 / {tmp_path / 'nfs4' / 'local'} rw - xfs /dev/vdb rw")
    lines.append("a line of another form")
    file = tmp_path / "mountinfo"
    file.write_text("\n".join(lines))
    monkeypatch.setattr("hpsearch.io.files.MOUNTS", file)
    return tmp_path


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("runs", "ext4"),
        ("nfs4", "nfs4"),
        ("nfs4/runs/study", "nfs4"),
        ("nfs40", "ext4"),
        ("nfs4/local/runs", "xfs"),
        ("my share/runs", "cifs"),
    ],
)
def test_the_deepest_mount_counts(place: str, kind: str, mounts: Path) -> None:
    assert file_system_of(mounts / place) == kind


def test_a_link_is_followed(mounts: Path) -> None:
    (mounts / "link").symlink_to(mounts / "scratch")
    assert file_system_of(mounts / "link" / "runs") == "lustre"


def test_without_a_list_of_mounts_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.io.files.MOUNTS", tmp_path / "none")
    assert not is_shared(tmp_path)


@pytest.mark.parametrize("place", ["my share", "ssh"])
def test_what_cannot_lock_is_refused_and_left_alone(place: str, mounts: Path) -> None:
    with (
        pytest.raises(StudyError, match=r"type (cifs|fuse.sshfs), .*--runs") as caught,
        sole_writer_of(mounts / place / "study"),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not list((mounts / place).iterdir())


def test_a_network_is_told(mounts: Path) -> None:
    assert "one machine at a time" in (network_note(mounts / "scratch") or "")
    assert network_note(mounts / "runs") is None


@pytest.mark.parametrize("place", ["nfs4", "scratch"])
def test_the_owner_on_another_machine_is_told(place: str, mounts: Path) -> None:
    """Its lock is not seen here, as on file systems whose locks are those of one machine."""
    run_dir = mounts / place / "study"
    run_dir.mkdir()
    (run_dir / "study.owner").write_text("4711\nnode-7\n")
    with (
        pytest.raises(StudyError, match=r"process 4711 of node-7 .* delete study\.owner"),
        sole_writer_of(run_dir),
    ):
        pass
    (run_dir / "study.owner").unlink()
    with sole_writer_of(run_dir):
        assert (run_dir / "study.owner").read_text() == f"{os.getpid()}\n{platform.node()}\n"
    assert not (run_dir / "study.owner").exists(), "an ended run must not look like a killed one"


@pytest.mark.parametrize("owner", [f"4711\n{platform.node()}\n", "4711\n", ""])
def test_what_a_killed_run_of_this_machine_left_is_taken_over(owner: str, mounts: Path) -> None:
    run_dir = mounts / "nfs4" / "study"
    run_dir.mkdir()
    (run_dir / "study.owner").write_text(owner)
    (run_dir / ".tmp-0123456789ab-spec.yaml").touch()
    with sole_writer_of(run_dir):
        assert (run_dir / "study.owner").read_text().startswith(f"{os.getpid()}\n")
        assert not list(run_dir.glob(".tmp-*"))


def test_on_a_local_disk_the_lock_alone_counts(mounts: Path) -> None:
    run_dir = mounts / "study"
    run_dir.mkdir()
    (run_dir / "study.owner").write_text("4711\nan earlier container\n")
    with sole_writer_of(run_dir):
        pass
