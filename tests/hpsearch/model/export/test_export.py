import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hpsearch.errors import HpsearchError, SpecError
from hpsearch.model.export.export import (
    GRAPH_FORMATS,
    METADATA,
    Scores,
    drawn_images,
    export,
)
from hpsearch.model.export.graph import FLAG, SCORE, trace
from hpsearch.model.model import Model

MakeModel = Callable[..., Model]


def test_onnx_gives_the_scores_and_flags_of_predict(make_model: MakeModel, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="needs hpsearch[export]")
    model = make_model("dpa", equalize=True)
    done = export(model, tmp_path / "out", "onnx")
    assert done.n_checked == 10
    assert done.difference < 1e-4
    session = ort.InferenceSession(str(done.folder / done.file))
    (images,) = session.get_inputs()
    assert (images.name, images.shape) == ("images", ["batch", "height", "width", 3])
    rng = np.random.default_rng(1)
    for shape in ((1, 31, 90, 3), (7, 60, 60, 3)):
        batch = (rng.beta(1, rng.uniform(1, 6), shape) * 255).astype(np.uint8)
        scores, flags = session.run([SCORE, FLAG], {"images": batch})
        expected = model.score(batch)
        np.testing.assert_allclose(scores, expected, rtol=1e-3)
        np.testing.assert_array_equal(flags, model.is_anomaly(expected))


@pytest.mark.parametrize(
    ("detector", "settings"),
    [
        ("dpa", {"window": (10.0, 900.0)}),
        ("features", {"greyscale": True, "channels": 1, "fit": "stretch"}),
        ("features", {"kind": "knn"}),
        ("features", {"layer": "colour"}),
    ],
    ids=["window", "mahalanobis of grey", "neighbours", "colour"],
)
def test_torch_gives_the_scores_and_flags_of_predict(
    detector: str, settings: dict[str, Any], make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(detector, **settings)
    done = export(model, tmp_path / "out", "torch")
    assert done.difference < 1e-5
    network = torch.export.load(done.folder / done.file).module()
    for picture in drawn_images(model, seed=1)[:3]:
        scores, flags = network(torch.from_numpy(picture[None]))
        expected = model.score(picture[None])
        np.testing.assert_allclose(scores, expected, rtol=1e-3)
        np.testing.assert_array_equal(flags, model.is_anomaly(expected))


def test_another_network_in_onnx(make_model: MakeModel, tmp_path: Path) -> None:
    """One whose padding depends on the size of the image."""
    pytest.importorskip("onnxruntime", reason="needs hpsearch[export]")
    model = make_model("features", backbone="lite0", layer="s3")
    assert export(model, tmp_path / "out", "onnx").difference < 1e-4


def test_neighbours_in_onnx(make_model: MakeModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs hpsearch[export]")
    assert export(make_model("features", kind="knn"), tmp_path / "out", "onnx").difference < 1e-3


def test_without_a_calibration_there_are_no_flags(make_model: MakeModel) -> None:
    model = make_model("features", layer="colour")
    bare = replace(model, facts=model.facts.model_copy(update={"calibration": None}))
    assert trace(bare).outputs == (SCORE,)
    assert trace(model).outputs == (SCORE, FLAG)


def test_the_metadata_describe_the_file(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("features", layer="colour")
    done = export(model, tmp_path / "out", "torch")
    assert sorted(path.name for path in done.folder.iterdir()) == [METADATA, "model.pt2"]
    told = json.loads((done.folder / METADATA).read_text())
    assert told["sha256"] == hashlib.sha256((done.folder / done.file).read_bytes()).hexdigest()
    assert told["input"]["shape"] == ["batch", "height", "width", 3]
    assert told["input"]["dtype"] == "uint8"
    assert told["checked"]["largest_relative_difference"] == done.difference
    assert told["model"] == model.facts.model_dump(mode="json")


def test_the_model_is_left_as_it_was(make_model: MakeModel) -> None:
    model = make_model("dpa")
    trace(model)
    weights = model.detector.autoencoder.state_dict()  # type: ignore[attr-defined]
    convolutions = [weight for weight in weights.values() if weight.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


def test_trees_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="isolation forest is no network; use hpsearch predict"):
        export(make_model("features", kind="isolation_forest"), tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


def test_another_score_is_an_error_and_leaves_nothing(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("features", layer="colour")

    def off_by_a_percent(path: Path) -> Scores:
        return lambda images: model.score(images) * 1.01

    wrong = {"torch": replace(GRAPH_FORMATS["torch"], load=off_by_a_percent)}
    monkeypatch.setattr("hpsearch.model.export.export.GRAPH_FORMATS", wrong)
    with pytest.raises(HpsearchError, match=r"differ from the model's by 0\.01"):
        export(model, tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_told_first(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.model.export.format_names.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"onnx.*pip install 'hpsearch\[export\]'"):
        export(make_model("features", layer="colour"), tmp_path / "out", "onnx")


def test_a_folder_that_exists_is_kept(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SpecError, match="exists; remove it or give another"):
        export(make_model("features", layer="colour"), tmp_path, "torch")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_whole_export_of_the_same_model_is_done_and_left_as_it_is(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = make_model("features", layer="colour"), make_model("features", layer="r12")
    first = export(model, tmp_path / "out", "torch")
    monkeypatch.setattr(
        "hpsearch.model.export.export.trace", lambda model: pytest.fail("it was made again")
    )
    assert not first.was_there
    assert export(model, tmp_path / "out", "torch") == replace(first, was_there=True)
    monkeypatch.undo()
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 40), "red").save(picture)
    for again in (
        lambda: export(other, tmp_path / "out", "torch"),
        lambda: export(model, tmp_path / "out", "torch", images=[picture]),
    ):
        with pytest.raises(SpecError, match="exists; remove it or give another"):
            again()


@pytest.mark.parametrize("damage", ["graph", "metadata", "another file", "no metadata", "no JSON"])
def test_an_export_that_is_not_whole_is_refused(
    damage: str, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model("features", layer="colour")
    done = export(model, tmp_path / "out", "torch")
    metadata = done.folder / METADATA
    if damage == "graph":
        (done.folder / done.file).write_bytes(b"of somebody else")
    elif damage == "metadata":
        metadata.write_text(json.dumps({"format": "hpsearch export 1"}))
    elif damage == "another file":
        (done.folder / "mine.txt").write_text("precious")
    elif damage == "no metadata":
        metadata.unlink()
    else:
        metadata.write_text("[]")
    with pytest.raises(SpecError, match="exists; remove it or give another"):
        export(model, tmp_path / "out", "torch")


def test_it_is_checked_on_images_of_the_user(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("features", layer="colour")
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(12)]
    for file in files:
        shape = (*rng.integers(20, 90, 2), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(file)
    done = export(model, tmp_path / "out", "torch", images=files)
    assert (done.n_checked, done.difference < 1e-6) == (10, True)
    windowed = make_model("dpa", window=(0.0, 900.0))
    with pytest.raises(SpecError, match="checked on drawn ones alone"):
        export(windowed, tmp_path / "other", "torch", images=files)
