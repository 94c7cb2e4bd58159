import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hpsearch.datasets.nih_copies import nih_copies
from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError
from hpsearch.io.processes import silent


def png(grey: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), grey).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes], *, links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def copies(root: Path, *names: str) -> dict[str, int]:
    """The grey level of each copy."""
    folder = nih_copies(root, set(names), cache_dir=root / "cache", progress=silent)
    return {name: int(np.asarray(read_image(folder / name))[0, 0]) for name in names}


def test_loose_files_and_archives_in_every_place(tmp_path: Path) -> None:
    for number, folder in enumerate(("images", "images_001/images", "images_002")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{number}.png").write_bytes(png(number))
    archive(tmp_path / "images_003.tar.gz", {"images/3.png": png(3), "images/4.png": png(4)})
    archive(tmp_path / "images_004.tar", {"5.png": png(5)})
    wanted = ("0.png", "1.png", "2.png", "3.png", "5.png")
    assert list(copies(tmp_path, *wanted).values()) == [0, 1, 2, 3, 5]
    (folder,) = (tmp_path / "cache").glob("nih-300px/*/")
    assert sorted(path.name for path in folder.iterdir()) == sorted(wanted)  # 4 was not asked for


def test_what_is_stored_is_not_made_again(tmp_path: Path) -> None:
    archive(tmp_path / "images_001.tar.gz", {"images/a.png": png(1), "images/b.png": png(2)})
    assert copies(tmp_path, "a.png") == {"a.png": 1}
    (folder,) = (tmp_path / "cache").glob("nih-300px/*/")
    (folder / ".tmp-0123-a.png").write_bytes(b"")  # of a killed run
    before = (folder / "a.png").stat().st_mtime_ns
    assert copies(tmp_path, "a.png", "b.png") == {"a.png": 1, "b.png": 2}
    assert (folder / "a.png").stat().st_mtime_ns == before
    (tmp_path / "images_001.tar.gz").unlink()
    assert copies(tmp_path, "a.png", "b.png") == {"a.png": 1, "b.png": 2}
    assert not list(folder.glob(".*"))


def test_members_cannot_reach_out_of_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png(77))
    members = {"../../evil.png": png(1), "/tmp/evil2.png": png(2), "images/ok.png": png(3)}
    archive(root / "images_001.tar", members, links={"images/ok.png": "../secret.png"})
    assert copies(root, "ok.png", "evil.png") == {"ok.png": 3, "evil.png": 1}
    assert not (tmp_path / "evil.png").exists()


def test_missing_images_are_counted(tmp_path: Path) -> None:
    archive(tmp_path / "images_001.tar", {"images/a.png": png()})
    with pytest.raises(DataError, match=r"2 of 3 images are missing \(b.png\); put all archives"):
        copies(tmp_path, "a.png", "b.png", "c.png")


def test_cut_archive_keeps_what_was_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    members = {}
    for number in range(40):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(buffer, "PNG")
        members[f"images/{number:02d}.png"] = buffer.getvalue()
    path = tmp_path / "images_001.tar.gz"
    archive(path, members)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    names = [Path(name).name for name in members]
    with pytest.raises(DataError, match=r"images_001.tar.gz: is damaged \(.*\); download it again"):
        copies(tmp_path, *names)
    (folder,) = (tmp_path / "cache").glob("nih-300px/*/")
    assert 10 < len(list(folder.iterdir())) < 40
    path.write_bytes(whole)
    assert len(copies(tmp_path, *names)) == 40


def test_damaged_images_are_named(tmp_path: Path) -> None:
    members = {"images/a.png": png()[:60], "images/b.png": b"", "images/c.png": png(3)}
    archive(tmp_path / "images_001.tar", members)
    says = r"images_001.tar/a\.png: is a damaged image .*\(and 1 more such"
    with pytest.raises(DataError, match=says):
        copies(tmp_path, "a.png", "b.png", "c.png")
    assert copies(tmp_path, "c.png") == {"c.png": 3}


def test_a_cache_too_small_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "images_001.tar", {"images/a.png": png(1), "images/b.png": png(2)})
    free = SimpleNamespace(free=2 * 300 * 300 - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(DataError, match="are needed and 0 MB are free; make room or set"):
        copies(tmp_path, "a.png", "b.png")
    assert not list((tmp_path / "cache").rglob("*.png"))
    assert copies(tmp_path, "b.png") == {"b.png": 2}
