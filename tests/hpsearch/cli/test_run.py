import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from hpsearch.cli.options import parse_axes
from hpsearch.cli.run import default_name, default_study
from hpsearch.config.spec import build_spec, shipped_studies
from hpsearch.errors import SpecError

Command = Callable[..., Any]


def _left(folder: Path) -> list[str]:
    """Files below a folder, but for the locks of the cache."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def _is_one_line(text: str) -> bool:
    return text.startswith("hpsearch: ") and text.count("\n") == 1 and text.endswith("\n")


def test_from_nothing_to_an_answer_and_again(
    hpsearch: Command, tiny_yaml: Path, inline: list[str], runs: Path
) -> None:
    first = hpsearch("run", "--study", tiny_yaml)
    assert (first.code, first.err) == (0, "")
    assert "test ROC AUC" in first.out
    assert sum(line.startswith("trial") for line in first.out.splitlines()) == 4
    assert len(inline) == 4 * 3 + 1 + 4
    assert (runs / "latest.txt").read_text() == "tiny\n"
    inline.clear()
    second = hpsearch("run", "--study", tiny_yaml)
    assert second.code == 0
    assert not inline, "nothing is trained anew"
    last = [text.splitlines()[-8:] for text in (first.out, second.out)]
    assert last[0] == last[1]


def test_json_is_an_object_a_line(hpsearch: Command, tiny_yaml: Path) -> None:
    ended = hpsearch("run", "--study", tiny_yaml, "--json")
    *events, summary = map(json.loads, ended.out.splitlines())
    assert {event["event"] for event in events} == {"progress", "trial", "note"}
    assert sum(event["event"] == "trial" for event in events) == 4
    assert summary["study"] == "tiny"


def test_options_lie_over_the_study(hpsearch: Command, tiny_yaml: Path, runs: Path) -> None:
    options = ["--study-name", "other", "--axis", "kind=knn", "--axis", "greyscale=true,false"]
    ended = hpsearch("run", "--study", tiny_yaml, *options, "--n-trials", 3, "--seed", 4, "--json")
    assert ended.code == 0
    spec = build_spec(yaml.safe_load((runs / "other" / "spec.yaml").read_text()), {})
    assert spec.space["features"]["kind"] == ("knn",)
    assert spec.space["preprocessing"] == {"resolution": (16,), "greyscale": (True, False)}
    assert (spec.search.n_trials, spec.search.seed) == (3, 4)
    assert json.loads(ended.out.splitlines()[-1])["params"]["kind"] == "knn"


@pytest.mark.parametrize(
    "options",
    [
        ["--n-trials", "0"],
        ["--timeout", "nan"],
        ["--sampler", "best"],
        ["--pruner", "sometimes"],
        ["--detector", "dpaa"],
        ["--backbone", "vgg16"],
        ["--backbone-weights", "missing.pth"],
        ["--axis", "latent_dim"],
        ["--axis", "width=4"],
        ["--axis", "kind=svm"],
        ["--axis", "resolution=large"],
        ["--axis", "greyscale=perhaps"],
        ["--axis", "resolution=4"],
        ["--axis", "resolution="],
        ["--detector", "dpa", "--axis", "latent_dim=many"],
        ["--detector", "dpa", "--axis", "latent_dim=0"],
        ["--detector", "dpa", "--axis", "resolution=48"],
        ["--scale", "0"],
        ["--scale", "2"],
        ["--criterion", "best"],
        ["--detector", "dpa", "--axis", "start_resolution=8", "--max-steps", "400"],
        ["--workers", "0"],
        ["--workers", "999"],
        ["--device", "tpu"],
        ["--n-anomaly-types", "3"],
        ["--n-examples", "7"],
        ["--n-examples", "1", "--n-anomaly-types", "2"],
        ["--n-examples", "2", "--anomalies", "partition"],
        ["--study-name", "../up"],
        ["--dataset", "nonsense"],
        ["--normal-class", "0"],
        ["--root", "nowhere"],
        ["--study", "nonsense"],
        ["--log", "wandb"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    options: list[str], hpsearch: Command, tiny_yaml: Path, runs: Path, cache: Path
) -> None:
    ended = hpsearch("run", "--study", tiny_yaml, *options)
    assert ended.code == 2
    assert _is_one_line(ended.err), ended.err
    assert not runs.exists()
    assert not [name for name in _left(cache) if ".tmp" in name]


def test_scale_and_criterion_are_written_out(
    hpsearch: Command, tiny_yaml: Path, runs: Path
) -> None:
    options = ["--scale", 0.5, "--criterion", "unsupervised"]
    assert hpsearch("run", "--study", tiny_yaml, "--axis", "kind=knn", *options).code == 0
    spec = build_spec(yaml.safe_load((runs / "tiny" / "spec.yaml").read_text()), {})
    assert (spec.training.max_steps, spec.training.check_every) == (3, 2)
    assert spec.search.criterion == "unsupervised"


@pytest.mark.parametrize("study", ["ablation", "file"])
def test_a_table_of_studies_is_no_study(
    study: str, hpsearch: Command, tmp_path: Path, runs: Path
) -> None:
    if study == "file":
        study = str(tmp_path / "own.yaml")
        Path(study).write_text("rows: []\n")
    ended = hpsearch("run", "--study", study)
    assert ended.code == 2
    assert _is_one_line(ended.err)
    assert "hpsearch reproduce table4" in ended.err
    assert not runs.exists()


def test_data_that_must_be_fetched_first(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("run", "--dataset", "camelyon16", "--n-anomaly-types", 1, "--n-examples", 20)
    assert ended.code == 2
    assert _is_one_line(ended.err)
    assert "camelyon16" in ended.err
    assert not ended.out
    assert not runs.exists()


Fault = Callable[[Path, list[str]], None]


def _replace(content: Callable[[Path], None]) -> Fault:
    def fault(folder: Path, rows: list[str]) -> None:
        path = folder / "train-normal-3.png"
        path.unlink()
        content(path)

    return fault


def _truncate(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(path)
    os.truncate(path, path.stat().st_size // 2)


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(path)


def _tiny_image(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


def _row(text: str) -> Fault:
    return lambda folder, rows: rows.append(text)


def _only(label: str) -> Fault:
    def fault(folder: Path, rows: list[str]) -> None:
        rows[1:] = [row for row in rows[1:] if row.split(",")[1] == label]

    return fault


def _few_anomalies(folder: Path, rows: list[str]) -> None:
    rows[:] = [row for row in rows if not row.startswith(("train-stripes", "train-blobs-1"))]


FAULTS: dict[str, tuple[Fault, str]] = {
    "0 bytes": (_replace(Path.touch), "train-normal-3.png"),
    "truncated": (_replace(_truncate), "train-normal-3.png"),
    "16 bits": (_replace(_sixteen_bit), "8 bits"),
    "a directory": (_replace(Path.mkdir), "is a directory"),
    "one pixel": (_replace(_tiny_image), "1x1"),
    "a FIFO": (_replace(os.mkfifo), "not a regular file"),
    "out of the folder": (_row("../../etc/passwd,0,train,,"), "leads out of"),
    "an absolute path": (_row("/etc/passwd,0,train,,"), "leads out of"),
    "twice": (_row("train-normal-1.png,0,train,,"), "again"),
    "not there": (_row("train-normal-999.png,0,train,,"), "does not exist"),
    "normals only": (_only("0"), "only one class"),
    "anomalies only": (_only("1"), "train normals: there are none"),
    "too few anomalies": (_few_anomalies, "lower --n-examples"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_one_line_and_leaves_nothing(
    name: str, hpsearch: Command, tiny: Path, tmp_path: Path, runs: Path, cache: Path
) -> None:
    fault, says = FAULTS[name]
    folder = tmp_path / "images"
    folder.mkdir()
    rows = tiny.read_text().splitlines()
    for path in tiny.parent.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    fault(folder, rows)
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = ["--backbone", "vgg-mini", "--detector", "features", "--n-examples", 6]
    ended = hpsearch("run", "--dataset", folder / "manifest.csv", *options)
    assert ended.code == 2
    assert _is_one_line(ended.err), ended.err
    assert says in ended.err
    assert not runs.exists()
    assert not _left(cache)


def test_a_dataset_has_its_own_study_and_others_have_one() -> None:
    assert default_study(None) == "quickstart"
    assert default_study("digits") == "digits"
    assert default_study("some/manifest.csv") == "own-data"
    assert {"quickstart", "digits", "own-data"} <= set(shipped_studies())


def test_an_axis_of_all_detectors_goes_before_what_a_study_names_for_one() -> None:
    study = {"space": {"patch": {"resolution": [64, 224], "pool": ["max"]}}}
    asked = ["patch.fit=crop", "fit=stretch", "resolution=32", "patch.kind=nearest"]
    both = parse_axes(asked, "features,patch", study)
    assert both == {
        "preprocessing": {"fit": ["stretch"], "resolution": [32]},
        "patch": {"fit": ["crop"], "resolution": [32], "kind": ["nearest"]},
    }
    with pytest.raises(SpecError, match=r"say of which detector, e\.g\. patch\.kind=nearest"):
        parse_axes(["kind=nearest"], "features,patch", study)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ((None, None, None, None), "quickstart"),
        ((None, None, None, "features"), "quickstart-features"),
        (("my/grid.yaml", None, None, None), "grid"),
        ((None, "digits", "3", "dpa"), "digits-3-dpa"),
        ((None, "some/screws/manifest.csv", None, "features"), "screws-features"),
        ((None, "some/my screws.csv", None, "auto"), "my-screws-auto"),
        ((None, "/", None, "patch,anomalib:Padim"), "data-patch-anomalib-Padim"),
    ],
)
def test_names_of_run_directories(given: tuple[str | None, ...], name: str) -> None:
    assert default_name(*given) == name  # type: ignore[arg-type]
    build_spec({"study_name": name}, {})


def test_trials_that_ended_before_are_logged_too(
    hpsearch: Command, tiny_yaml: Path, runs: Path
) -> None:
    pytest.importorskip("tensorboard", reason="needs hpsearch[tensorboard]")
    command = ("run", "--study", tiny_yaml, "--n-trials", 2)
    assert hpsearch(*command).code == 0
    assert not list(runs.glob("*/tensorboard"))
    ended = hpsearch(*command, "--log", "tensorboard")
    assert (ended.code, ended.err) == (0, "")
    written = sorted(path.name for path in runs.glob("*/tensorboard/*"))
    assert [name[:5] for name in written] == ["final", "trial", "trial"]
