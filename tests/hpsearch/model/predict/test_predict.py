import csv
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from hpsearch.errors import DataError, SpecError
from hpsearch.model.model import Model
from hpsearch.model.predict.inputs import find_images
from hpsearch.model.predict.predict import predict

MakeImages = Callable[..., Path]
BROKEN = (0, 7, 8, 30)


class Stopped(BaseException):
    """Stands for a kill: nothing catches it."""


def _stop_after(n: int) -> Callable[[str, int, int], None]:
    def progress(_: str, done: int, __: int) -> None:
        if done >= n:
            raise Stopped

    return progress


@pytest.fixture
def image_folder(make_images: MakeImages, tmp_path: Path) -> Path:
    return make_images(tmp_path / "images", 40, BROKEN)


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"images"}


def test_a_row_an_image_and_a_list_of_the_broken(
    model: Model, image_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    told: list[tuple[str, int, int]] = []
    prediction = predict(
        model,
        find_images([image_folder]).images,
        out,
        batch_size=8,
        workers=1,
        progress=lambda *event: told.append(event),
    )
    table = pd.read_csv(out)
    assert list(table.columns) == ["image_id", "score", "p_value", "is_anomaly"]
    readable = [f"{n:04d}.png" for n in range(40) if n not in BROKEN]
    assert table["image_id"].tolist() == readable
    scores = model.score([image_folder / name for name in readable])
    np.testing.assert_allclose(table["score"], scores, rtol=1e-9)
    np.testing.assert_allclose(table["p_value"], model.p_values(scores), rtol=1e-12)
    assert table["is_anomaly"].tolist() == model.is_anomaly(scores).astype(int).tolist()
    listed = pd.read_csv(tmp_path / "scores.unreadable.csv")
    assert listed["image_id"].tolist() == [f"{n:04d}.png" for n in BROKEN]
    assert listed["reason"].str.contains("is empty|is not a readable|is damaged").all()
    assert (prediction.n_scored, prediction.n_unreadable, prediction.n_before) == (36, 4, 0)
    assert prediction.n_anomalies == table["is_anomaly"].sum()
    assert told[-1] == ("scoring", 40, 40)
    assert _left(tmp_path) == {"scores.csv", "scores.unreadable.csv"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_stopped_half_way_it_ends_with_the_same_file(
    suffix: str, model: Model, image_folder: Path, tmp_path: Path
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    found = find_images([image_folder]).images
    whole, stopped = tmp_path / f"whole{suffix}", tmp_path / f"stopped{suffix}"
    predict(model, found, whole, batch_size=20)
    with pytest.raises(Stopped):
        predict(model, found, stopped, batch_size=20, progress=_stop_after(20))
    assert not stopped.exists()
    prediction = predict(model, found, stopped, batch_size=20)
    assert prediction.n_before == 20
    assert stopped.read_bytes() == whole.read_bytes()
    lists = [path.with_name(f"{path.stem}.unreadable.csv") for path in (whole, stopped)]
    assert lists[0].read_bytes() == lists[1].read_bytes()


def _other_model(model: Model, images: Path) -> Model:
    return Model(model.facts.model_copy(update={"seed": 1}), model.detector)


def _mended_image(model: Model, images: Path) -> Model:
    mended = images / "0007.png"
    mended.write_bytes((images / "0001.png").read_bytes())
    os.utime(mended, ns=(time.time_ns(), time.time_ns()))
    return model


def _new_image(model: Model, images: Path) -> Model:
    (images / "new.png").write_bytes((images / "0001.png").read_bytes())
    return model


@pytest.mark.parametrize("change", [_other_model, _mended_image, _new_image])
def test_what_was_scored_for_another_job_is_not_taken(
    change: Callable[[Model, Path], Model], model: Model, image_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    with pytest.raises(Stopped):
        predict(
            model, find_images([image_folder]).images, out, batch_size=21, progress=_stop_after(20)
        )
    prediction = predict(
        change(model, image_folder), find_images([image_folder]).images, out, batch_size=21
    )
    assert prediction.n_before == 0
    assert prediction.n_scored + prediction.n_unreadable == len(find_images([image_folder]).images)


def test_parquet_holds_the_same_as_csv(model: Model, image_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    tables = []
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        predict(model, find_images([image_folder]).images, tmp_path / name, batch_size=64)
        tables.append(read(tmp_path / name))
    assert tables[1]["is_anomaly"].dtype == bool
    as_csv = tables[1].assign(is_anomaly=tables[1]["is_anomaly"].astype(int))
    pd.testing.assert_frame_equal(tables[0], as_csv, check_dtype=False, rtol=1e-12)


def test_without_a_calibration_two_columns_are_empty(
    model: Model, image_folder: Path, tmp_path: Path
) -> None:
    bare = Model(model.facts.model_copy(update={"calibration": None}), model.detector)
    prediction = predict(bare, find_images([image_folder]).images, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table[["p_value", "is_anomaly"]].isna().all(axis=None)
    assert table["score"].notna().all()
    assert prediction.n_anomalies is None


def test_an_old_list_of_the_broken_does_not_stay(
    model: Model, make_images: MakeImages, tmp_path: Path
) -> None:
    (tmp_path / "scores.unreadable.csv").write_text("of an earlier run")
    images = find_images([make_images(tmp_path / "images", 3)]).images
    assert predict(model, images, tmp_path / "scores.csv").unreadable is None
    assert _left(tmp_path) == {"scores.csv"}


def test_any_file_name_comes_back(model: Model, make_images: MakeImages, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 3)
    names = [b'a, "b"\r.png', b"line\nbreak.png", b"\xff\xfe.png"]
    for path, name in zip(sorted(images.iterdir()), names, strict=True):
        path.rename(images / os.fsdecode(name))
    found = find_images([images]).images
    predict(model, found, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == [image.image_id for image in found]
    pytest.importorskip("pyarrow")
    predict(model, found, tmp_path / "scores.parquet")
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == 3


def test_a_name_that_is_no_table(model: Model, image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"must end in \.csv or \.parquet"):
        predict(model, find_images([image_folder]).images, tmp_path / "scores.xlsx")
    with pytest.raises(SpecError, match="no maps"):
        predict(
            model, find_images([image_folder]).images, tmp_path / "a.csv", maps=tmp_path / "maps"
        )
    assert _left(tmp_path) == set()


def test_parquet_without_pyarrow_is_one_line(
    model: Model, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.model.predict.tables.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="needs pyarrow"):
        predict(model, find_images([image_folder]).images, tmp_path / "scores.parquet")


def test_two_processes_do_not_write_the_same_table(
    model: Model, image_folder: Path, tmp_path: Path
) -> None:
    parts = tmp_path / ".scores.csv.parts"
    parts.mkdir()
    with FileLock(parts / "lock"), pytest.raises(DataError, match="another process writes it"):
        predict(model, find_images([image_folder]).images, tmp_path / "scores.csv")


def test_a_folder_that_cannot_be_made(model: Model, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        predict(model, find_images([image_folder]).images, tmp_path / "file" / "scores.csv")


def test_further_frames_are_counted(model: Model, image_folder: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (grey, 90, 90)) for grey in (80, 120, 160)]
    frames[0].save(image_folder / "a.tiff", save_all=True, append_images=frames[1:])
    prediction = predict(model, find_images([image_folder]).images, tmp_path / "s.csv", workers=1)
    assert (prediction.n_many_frames, prediction.n_scored) == (1, 37)


def test_where_nothing_can_be_read_there_is_a_list_and_no_table(
    model: Model, make_images: MakeImages, tmp_path: Path
) -> None:
    folder, out = make_images(tmp_path / "images", 5, tuple(range(5))), tmp_path / "scores.csv"
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            predict(model, find_images([folder]).images, out, workers=1)
        listed = tmp_path / "scores.unreadable.csv"
        assert str(caught.value) == (
            f"none of 5 images can be read; {listed} says why of each, mend or convert them"
        )
        assert len(pd.read_csv(listed)) == 5
        assert _left(tmp_path) == {"scores.unreadable.csv"}
    make_images(folder, 5)  # they are mended
    assert predict(model, find_images([folder]).images, out, workers=1).n_scored == 5


def test_without_a_window_the_model_is_what_to_change(
    model: Model, image_folder: Path, tmp_path: Path
) -> None:
    deep = np.arange(400, dtype=np.uint16).reshape(20, 20)
    Image.fromarray(deep).save(image_folder / "deep.png")
    predict(model, find_images([image_folder]).images, tmp_path / "scores.csv", workers=1)
    reasons = pd.read_csv(tmp_path / "scores.unreadable.csv").set_index("image_id")["reason"]
    assert reasons["deep.png"] == (
        f"{image_folder / 'deep.png'}: holds more than 8 bits a channel (values from 0 to 399); "
        "take a model of a study with dataset.window, or convert the image to 8 bits"
    )
