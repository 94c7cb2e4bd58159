import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

Command = Callable[..., Any]

SHARED = Path(os.environ.get("HPSEARCH_SHARED", Path(__file__).parents[4] / "shared" / "data"))


def test_a_fit_dataset_passes(hpsearch: Command, tiny: Path) -> None:
    ended = hpsearch("check", "--dataset", tiny, "--n-examples", 4)
    assert (ended.code, ended.err) == (0, "")
    assert "70 images" in ended.out
    assert "error:" not in ended.out
    assert "fit for a search" in ended.out.splitlines()[-1]
    cells = [line.split("│")[1:-1] for line in ended.out.splitlines() if "│" in line]
    assert [cell.strip() for cell in cells[0]] == ["train", "normal", "", "36", "12"]


def test_each_fault_is_a_line_and_the_code_is_1(
    hpsearch: Command, tiny: Path, tmp_path: Path
) -> None:
    for path in tiny.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "test-normal-0.png").write_bytes(b"")
    (tmp_path / "test-normal-1.png").write_bytes((tmp_path / "train-normal-0.png").read_bytes())
    ended = hpsearch("check", "--dataset", tmp_path / tiny.name, "--n-examples", 7)
    assert ended.code == 1
    errors = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for words in ("labelled budget", "test-normal-0.png: is empty", "has the pixels of"):
        assert sum(words in line for line in errors) == 1
    ended = hpsearch("check", "--dataset", tmp_path / tiny.name, "--n-examples", 7, "--json")
    found = json.loads(ended.out.splitlines()[-1])
    assert (ended.code, found["passed"], found["errors"]) == (1, False, 3)
    assert {"labelled budget", "unreadable", "same pixels"} <= {
        finding["check"] for finding in found["findings"]
    }


def test_groups_that_make_folds_uneven_are_told_until_they_are_split(
    hpsearch: Command, tiny: Path
) -> None:
    table = pd.read_csv(tiny)
    normals = (table["label_index"] == 0) & (table["split"] == "train")
    table.loc[table.index[normals][:30], "group"] = "big"
    uneven = tiny.with_name("uneven.csv")
    table.to_csv(uneven, index=False)
    ended = hpsearch("check", "--dataset", uneven, "--n-examples", 4)
    told = [line for line in ended.out.splitlines() if line.startswith("warning: uneven folds: ")]
    assert (ended.code, len(told)) == (0, 1)
    assert "trains on 3 normals and fold" in told[0]
    assert "big has 30 of 36" in told[0]
    ended = hpsearch("check", "--dataset", uneven, "--n-examples", 4, "--split-groups")
    assert "uneven folds" not in ended.out
    assert "warning: split group: group big is both trained on and scored" in ended.out


def test_a_manifest_that_cannot_be_read_is_a_mistake(hpsearch: Command, tmp_path: Path) -> None:
    ended = hpsearch("check", "--dataset", tmp_path / "none.csv")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_the_report_is_what_json_prints(hpsearch: Command, tiny: Path, tmp_path: Path) -> None:
    report = tmp_path / "new" / "report.json"
    ended = hpsearch("check", "--dataset", tiny, "--n-examples", 4, "--report", report, "--json")
    found = json.loads(report.read_text())
    assert found == json.loads(ended.out.splitlines()[-1])
    assert found["classes"][0] == {
        "split": "train",
        "kind": "normal",
        "anomaly_type": "",
        "images": 36,
        "groups": 12,
    }
    assert found["formats"] == {"sizes": {"16x16": 70}, "modes": {"RGB": 70}}


def test_long_lists_are_shortened_on_screen_only(
    hpsearch: Command, tiny: Path, tmp_path: Path
) -> None:
    for path in tiny.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for number in range(14):
        (tmp_path / f"train-normal-{number}.png").write_bytes(b"no image")
    report = tmp_path / "report.json"
    arguments = ("--dataset", tmp_path / tiny.name, "--n-examples", 4, "--report", report)
    lines = hpsearch("check", *arguments).out.splitlines()
    unreadable = [line for line in lines if line.startswith("error: unreadable: ")]
    assert len(unreadable) == 11
    assert unreadable[-1] == "error: unreadable: and 4 more; --report FILE lists all"
    assert len(json.loads(report.read_text())["findings"]) == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocol", "official"), "search.folds: protocol official needs"),
        (("--folds", "."), "search.folds: only protocol official"),
        (("--window", "9,3"), "--window '9,3': "),
        (("--multi-label", "all"), "dataset.multi_label: "),
        (("--report", "."), "--report .: is a folder"),
    ],
)
def test_a_wrong_option_is_one_line(
    hpsearch: Command, tiny: Path, options: tuple[str, ...], message: str
) -> None:
    ended = hpsearch("check", "--dataset", tiny, *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"hpsearch: {message}")


def test_a_window_lets_deep_images_be_read(hpsearch: Command, tiny: Path, tmp_path: Path) -> None:
    for path in tiny.parent.glob("*.png"):
        grey = np.asarray(Image.open(path).convert("L"), dtype=np.uint16) * 16
        Image.fromarray(grey).save(tmp_path / path.name)
    manifest = tmp_path / tiny.name
    manifest.write_bytes(tiny.read_bytes())
    arguments = ("--dataset", manifest, "--n-examples", 4)
    without = hpsearch("check", *arguments)
    assert (without.code, without.out.count("error: unreadable")) == (1, 11)
    ended = hpsearch("check", *arguments, "--window", "0,4095")
    assert (ended.code, "modes: 70 of L" in ended.out) == (0, True)


def write_folds(folder: Path, manifest: Path, *, leak: bool) -> Path:
    table = pd.read_csv(manifest, keep_default_na=False)
    table = table[table["split"] == "train"]
    normals = table[table["label_index"] == 0]
    anomalies = "\n".join(table.loc[table["label_index"] == 1, "image_path"])
    for fold in range(3):
        part = normals["group"].rank(method="dense").astype(int) % 3
        scored = part == fold
        held_out = part == (fold + 1) % 3
        lists = {
            "normal/train": normals[~scored & ~held_out],
            "normal/val": normals[held_out],
            "normal/test": normals[~scored if leak else scored],
        }
        for name, rows in lists.items():
            (folder / str(fold) / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / str(fold) / name).write_text("\n".join(rows["image_path"]))
        (folder / str(fold) / "anomaly").mkdir()
        (folder / str(fold) / "anomaly" / "test").write_text(anomalies)
    return folder


@pytest.mark.parametrize(
    ("leak", "options", "code", "severity"),
    [
        (False, (), 0, None),
        (True, (), 1, "error"),
        (True, ("--allow-leak",), 0, "warning"),
    ],
)
def test_fold_files_that_score_what_they_train_on(
    hpsearch: Command,
    tiny: Path,
    tmp_path: Path,
    leak: bool,
    options: tuple[str, ...],
    code: int,
    severity: str | None,
) -> None:
    folds = write_folds(tmp_path / "folds", tiny, leak=leak)
    arguments = ("--dataset", tiny, "--protocol", "official", "--folds", folds, *options)
    ended = hpsearch("check", *arguments)
    assert (ended.code, ended.err) == (code, "")
    leaks = [line for line in ended.out.splitlines() if ": fold leak: " in line]
    assert [line.partition(":")[0] for line in leaks] == ([severity] * 3 if severity else [])


def subset(name: str, folder: Path) -> Path:
    """The manifest of every fifth group of a real set, with its images."""
    with tarfile.open(SHARED / f"{name}.tar.gz") as tar:
        (member,) = [member for member in tar if member.name.endswith("manifest.csv")]
        table = pd.read_csv(tar.extractfile(member), keep_default_na=False)
        table = table[pd.factorize(table["group"])[0] % 5 == 0].drop(columns="mask_path")
        root = Path(member.name).parent
        wanted = {str(root / path) for path in table["image_path"]}
        images = [member for member in tar if member.name in wanted]
        tar.extractall(folder, members=images, filter="data")
    manifest = folder / root / "manifest.csv"
    table.to_csv(manifest, index=False)
    return manifest


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["lc25000_lung", "magnetic_tile"])
def test_real_sets_pass_until_a_test_image_is_copied_into_train(
    hpsearch: Command, tmp_path: Path, name: str
) -> None:
    if not (SHARED / f"{name}.tar.gz").exists():
        pytest.skip(f"HPSEARCH_SHARED holds no {name}")
    manifest = subset(name, tmp_path)
    arguments = ("check", "--dataset", manifest, "--n-examples", 4)
    ended = hpsearch(*arguments)
    assert (ended.code, "error:" in ended.out, "near-duplicate" in ended.out) == (0, False, False)

    table = pd.read_csv(manifest, keep_default_na=False)
    original = table[(table["split"] == "test") & (table["label_index"] == 0)].iloc[5]
    leaked = manifest.parent / "leaked.jpg"
    row = original.to_frame().T.assign(image_path="leaked.jpg", split="train", group="leaked")
    pd.concat([table, row]).to_csv(manifest, index=False)

    leaked.write_bytes((manifest.parent / original["image_path"]).read_bytes())
    ended = hpsearch(*arguments)
    (error,) = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert (ended.code, error.split()[1:3]) == (1, ["same", "pixels:"])
    assert all(file in error for file in ("leaked.jpg", original["image_path"]))

    with Image.open(manifest.parent / original["image_path"]) as image:
        image.resize((image.width - 5, image.height - 5)).save(leaked, quality=90)
    ended = hpsearch(*arguments)
    told = f"image {original['image_path']}: looks like leaked.jpg"
    warnings = [line for line in ended.out.splitlines() if "near-duplicate" in line]
    assert (ended.code, sum(told in line for line in warnings)) == (0, 1)
    # A photograph of the same tile under another lamp may look as much like the copy.
    assert all("leaked.jpg" in line for line in warnings)
