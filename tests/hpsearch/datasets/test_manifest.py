import os
from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets import manifest as module
from hpsearch.datasets.manifest import load_manifest
from hpsearch.errors import DataError

HEADER = "image_path,label_index,split"
NAMES = ("a.png", "deep/b.png", "c, d.png")


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A data folder with images, beside one that no manifest may reach."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "deep").mkdir(parents=True)
    outside.mkdir()
    for name in NAMES:
        Image.new("L", (8, 8)).save(data / name)
    Image.new("L", (8, 8)).save(outside / "secret.png")
    (data / "link.png").symlink_to(outside / "secret.png")
    (data / "folder_link").symlink_to(outside)
    (data / "loop.png").symlink_to(data / "loop.png")
    (data / "dangling.png").symlink_to(outside / "not fetched")
    return data


def write(folder: Path, *lines: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(manifest: Path, root: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load_manifest(manifest, root)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(manifest))
    assert "; " in message
    return message


def test_minimal_columns(data_folder: Path) -> None:
    dataset = load_manifest(write(data_folder, HEADER, "a.png,0,train", "deep/b.png,1,test"))
    assert dataset.name == "data"
    assert dataset.table.to_dict("records") == [
        {
            "image_id": "a.png",
            "path": "a.png",
            "label": 0,
            "anomaly_type": "",
            "group": "a.png",
            "split": "train",
            "mask_path": "",
        },
        {
            "image_id": "deep/b.png",
            "path": "deep/b.png",
            "label": 1,
            "anomaly_type": "anomaly",
            "group": "deep/b.png",
            "split": "test",
            "mask_path": "",
        },
    ]
    assert dataset.open(1).size == (8, 8)


def test_optional_and_foreign_columns_in_any_order(data_folder: Path) -> None:
    header = "split,group,fold,mask_path,label_index,anomaly_type,image_path,remark"
    manifest = write(data_folder, header, "train,slide 1,2,a.png,1,crack,deep/b.png,=cmd()")
    row = load_manifest(manifest).table.iloc[0]
    assert (row["group"], row["anomaly_type"], row["mask_path"]) == ("slide 1", "crack", "a.png")


def test_byte_order_mark_crlf_quotes_and_blank_lines(data_folder: Path) -> None:
    manifest = data_folder / "m.csv"
    manifest.write_bytes(f'\ufeff{HEADER}\r\n\r\n"c, d.png",0,train\r\n'.encode())
    dataset = load_manifest(manifest)
    assert list(dataset.table["image_id"]) == ["c, d.png"]
    assert dataset.name == "m"


def test_another_root_and_absolute_paths_inside_it(data_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    manifest = write(elsewhere, HEADER, "a.png,0,train", f"{data_folder}/deep/b.png,0,test")
    dataset = load_manifest(manifest, data_folder)
    assert list(dataset.table["path"]) == ["a.png", "deep/b.png"]
    assert dataset.open(1).size == (8, 8)
    assert "does not exist" in refusal(manifest)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("../outside/secret.png,0,train", "leads out of"),
        ("deep/../../outside/secret.png,0,train", "leads out of"),
        ("../../../../../../etc/passwd,0,train", "leads out of"),
        ("/etc/passwd,0,train", "leads out of"),
        ("folder_link/../../outside/secret.png,0,train", "leads out of"),
        ("dangling.png,0,train", "fetch that file"),
        ("loop.png,0,train", "cannot be opened|does not exist"),
        ("absent.png,0,train", "does not exist"),
        (f"{'x' * 300}.png,0,train", "cannot be opened"),
        ("a\0.png,0,train", "NUL"),
        (",0,train", "image_path is empty"),
        ("a.png,2,train", "label_index is '2'"),
        ("a.png,,train", "label_index is ''"),
        ("a.png,0,val", "split is 'val'"),
        ("a.png,0", "has 2 cells under 3 columns"),
        ("deep/b.png,0,test", "the file of row 2 again"),
        ("./deep/../deep/b.png,0,test", "the file of row 2 again"),
        ('"absent\n.png",0,test', "does not exist"),
    ],
)
def test_bad_row(data_folder: Path, row: str, what: str) -> None:
    message = refusal(write(data_folder, HEADER, "deep/b.png,0,train", row))
    assert "manifest.csv row 3: " in message
    assert any(alternative in message for alternative in what.split("|"))
    assert len(message) < 1000


def test_bad_cells_of_optional_columns(data_folder: Path) -> None:
    header = f"{HEADER},anomaly_type,mask_path"
    message = refusal(write(data_folder, header, "a.png,0,train,crack,"))
    assert "row 2: label_index is 0 but anomaly_type is 'crack'" in message
    message = refusal(write(data_folder, header, "a.png,1,train,crack,../outside/secret.png"))
    assert "row 2: mask_path '../outside/secret.png' leads out of" in message


def test_rows_are_counted_as_an_editor_counts_lines(data_folder: Path) -> None:
    manifest = write(
        data_folder, f"{HEADER},remark", 'a.png,0,train,"two\nlines"', "", "no.png,0,test,"
    )
    assert " row 5: " in refusal(manifest)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "lacks image_path, label_index, split (found: nothing)"),
        (b"path;label;split\n", "lacks image_path, label_index, split (found: path;label;split)"),
        (b"image_path,label_index\n", "lacks split"),
        (b"image_path,label_index,split,split\n", "a column comes twice"),
        (b"image_path,label_index,split\n", "has a header and no rows"),
        (b"image_path,label_index,split\n\xff.png,0,train\n", "is not UTF-8"),
        (b'image_path,label_index,split\n"a.png,0,train\n', "is not a well-formed CSV"),
        (b"image_path,label_index,split\n" + b"x" * 1_000_000, "is not a well-formed CSV"),
    ],
)
def test_bad_file(data_folder: Path, content: bytes, what: str) -> None:
    (data_folder / "m.csv").write_bytes(content)
    assert what in refusal(data_folder / "m.csv")


def test_size_is_capped_before_reading(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write(data_folder, HEADER, "a.png,0,train")
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", 20)
    assert "more than" in refusal(manifest)


def test_what_is_no_file(data_folder: Path) -> None:
    assert "cannot be opened" in refusal(data_folder / "absent.csv")
    assert "is a directory" in refusal(data_folder)
    os.mkfifo(data_folder / "pipe.csv")
    assert "is not a regular file" in refusal(data_folder / "pipe.csv")


@pytest.mark.parametrize("written", ["link.png", "folder_link/secret.png"])
def test_a_link_out_of_the_root_is_followed_and_told_or_refused(
    data_folder: Path, written: str
) -> None:
    manifest = write(data_folder, HEADER, f"{written},0,train", "a.png,0,train")
    dataset = load_manifest(manifest)
    assert list(dataset.table["path"]) == [written, "a.png"]
    assert dataset.open(0).size == (8, 8)
    (note,) = dataset.notes
    assert note.startswith("1 files in")
    assert written in note
    assert "outside/secret.png; --links refuse" in note
    with pytest.raises(DataError, match=r"row 2: image_path .* is a link that leads out of"):
        load_manifest(manifest, links="refuse")


def test_links_to_equal_content_of_a_store_are_images_of_their_own(data_folder: Path) -> None:
    store = data_folder / ".annex" / "ab12"
    store.parent.mkdir()
    (data_folder / "a.png").rename(store)
    for name in ("one.png", "two.png"):
        (data_folder / name).symlink_to(store)
    manifest = write(data_folder, HEADER, "one.png,0,train", "two.png,0,train")
    dataset = load_manifest(manifest, links="refuse")  # they do not leave the root
    assert list(dataset.table["path"]) == ["one.png", "two.png"]
    assert dataset.notes == ()
    assert [dataset.open(position).size for position in (0, 1)] == [(8, 8)] * 2
    again = write(data_folder, HEADER, "one.png,0,train", "./one.png,0,train")
    assert "the file of row 2 again" in refusal(again)


def test_absolute_paths_by_another_name_of_the_root(data_folder: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(data_folder)
    rows = [f"{alias}/a.png,0,train", f"{data_folder}/deep/b.png,0,test"]
    for root in (alias, data_folder):
        dataset = load_manifest(write(data_folder, HEADER, *rows), root)
        assert list(dataset.table["path"]) == ["a.png", "deep/b.png"]


@pytest.mark.parametrize(
    ("column", "optional", "so"),
    [
        ("groups", "group", "every image is a group of its own"),
        ("Group", "group", "every image is a group of its own"),
        ("group_id", "group", "every image is a group of its own"),
        ("anomaly_typ", "anomaly_type", "all anomalies are of one type"),
        ("Anomaly Type", "anomaly_type", "all anomalies are of one type"),
        ("type", "anomaly_type", "all anomalies are of one type"),
        ("mask", "mask_path", "no masks are read"),
    ],
)
def test_a_column_that_may_be_misspelt_is_told(
    data_folder: Path, column: str, optional: str, so: str
) -> None:
    header = f"{HEADER},{column}"
    warning, ignored = load_manifest(write(data_folder, header, "a.png,0,train,x")).notes
    assert warning.startswith(f"warning: column {column} is not read, so {so}; name it {optional}")
    assert ignored == f"columns that are ignored: {column}"
    header = f"{header},{optional}"
    assert load_manifest(write(data_folder, header, "a.png,1,train,x,")).notes == (ignored,)


def test_other_columns_are_listed(data_folder: Path) -> None:
    header = f"{HEADER},fold,,note[/b]\t"
    (note,) = load_manifest(write(data_folder, header, "a.png,0,train,1,2,3")).notes
    assert note == "columns that are ignored: fold, (without a name), note[/b]"
    assert load_manifest(write(data_folder, HEADER, "a.png,0,train")).notes == ()
