"""Studies in the official protocol, on fold files of the tiny set; and what a dataset tells."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpsearch.config.spec import build_spec
from hpsearch.datasets.manifest import load_manifest
from hpsearch.errors import DataError, StudyError
from hpsearch.evaluation.stored_scores import read_scores
from hpsearch.protocol.folds import Positions, make_folds
from hpsearch.protocol.labels import LabelBudget, draw_labelled, labelled_for_fold
from hpsearch.storage.database import load_study
from hpsearch.storage.results import read_result
from hpsearch.study.finish import train_final_models
from hpsearch.study.inputs import load_inputs
from hpsearch.study.run import StudyRun, run_study
from tests.hpsearch.notes import Notes

QUICK = {"features": {"kind": ["knn", "mahalanobis"], "layer": ["colour"]}}
NAMES = ("normal/train", "normal/val", "normal/test", "anomaly/test")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str], notes: Notes) -> Callable[..., StudyRun]:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec: run_study(spec, listener=notes, **where)


@pytest.fixture
def table(tiny: Path) -> pd.DataFrame:
    return load_manifest(tiny).table


@pytest.fixture
def fold_folder(tmp_path: Path) -> Path:
    return tmp_path / "folds"


def write(folder: Path, table: pd.DataFrame, parts: Sequence[tuple[Positions, ...]]) -> None:
    for number, positions in enumerate(parts):
        for name, of_file in zip(NAMES, positions, strict=True):
            file = folder / str(number) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(table["image_id"].iloc[of_file]))


def clean_parts(table: pd.DataFrame, n_folds: int = 3) -> list[tuple[Positions, ...]]:
    """What a clean study of seed 0 draws: four labelled anomalies, shared."""
    labelled = draw_labelled(table, LabelBudget(1, 4), seed=0)
    return [
        (fold.train, fold.early_stop, fold.scored, labelled_for_fold(labelled, number, n_folds))
        for number, fold in enumerate(make_folds(table, n_folds=n_folds, seed=0))
    ]


def leaky_parts(table: pd.DataFrame) -> list[tuple[Positions, ...]]:
    """In each fold every normal is scored."""
    normals = np.flatnonzero((table["label"] == 0) & (table["split"] == "train"))
    return [(train, held, normals, found) for train, held, _, found in clean_parts(table)]


def test_files_that_list_what_a_clean_study_draws_give_its_scores(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path
) -> None:
    write(fold_folder, table, clean_parts(table))
    search = {"protocol": "official", "folds": fold_folder}
    clean = run(tiny_spec(space=QUICK))
    official = run(tiny_spec(space=QUICK, study_name="official", search=search))
    one, two = (load_study(ran.folder.path).get_trials() for ran in (clean, official))
    assert [trial.values for trial in one] == [trial.values for trial in two]
    assert clean.result.test == official.result.test
    for first, second in zip(one[0].user_attrs["tasks"], two[0].user_attrs["tasks"], strict=True):
        assert first == second, "the same folds are the same task, wherever they come from"
        frames = (
            read_result(ran.folder.tasks, digest)
            for ran, digest in ((clean, first), (official, second))
        )
        expected, found = (result.scores for result in frames if result is not None)
        pd.testing.assert_frame_equal(expected, found, check_exact=True)
    assert official.folder.environment()["warnings"] == []
    assert clean.folder.environment()["folds_digest"] is None


def test_an_allowed_leak_is_told_first_kept_and_scored(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path, notes: Notes, runs: Path
) -> None:
    write(fold_folder, table, leaky_parts(table))
    search = {"protocol": "official", "folds": fold_folder}
    with pytest.raises(DataError, match="fold 0: 24 of 36 scored normals were used before"):
        run(tiny_spec(search=search))
    assert not runs.exists()
    assert notes.lines == []
    ran = run(tiny_spec(space=QUICK, search=search | {"allow_leak": True}))
    warnings = ran.folder.environment()["warnings"]
    assert len(warnings) == 3
    assert notes.lines[:3] == [f"warning: {line}" for line in warnings]
    assert "4 labelled anomalies" in notes.lines[3]
    assert f"3 folds of {fold_folder}" in notes.lines[3]
    trial = load_study(ran.folder.path).get_trials()[0]
    result = read_result(ran.folder.tasks, trial.user_attrs["tasks"][0])
    assert result is not None
    assert result.of_role("normal").size == 36
    with pytest.raises(DataError, match="--allow-leak"):
        run(tiny_spec(space=QUICK, search=search))


def test_final_models_of_further_trials_are_trained(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path, notes: Notes, cache: Path
) -> None:
    write(fold_folder, table, clean_parts(table))
    folder = run(
        tiny_spec(space=QUICK, search={"protocol": "official", "folds": fold_folder})
    ).folder
    trials = load_study(folder.path).get_trials()
    where = {"cache_dir": cache, "device": "cpu", "workers": 1}
    train_final_models(folder, trials, listener=notes, **where)
    assert len(read_scores(folder).final_tasks) == len(trials) == 2
    assert None not in read_scores(folder).final_tasks


def test_the_run_directory_holds_the_numbers_of_the_files(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path
) -> None:
    write(fold_folder, table, clean_parts(table, n_folds=2))
    ran = run(
        tiny_spec(
            labels={"n_anomaly_types": 2, "n_examples": 6},
            search={"protocol": "official", "folds": fold_folder},
            space=QUICK,
        )
    )
    spec = ran.folder.spec()
    assert (spec.search.n_folds, spec.labels.n_anomaly_types, spec.labels.n_examples) == (2, 1, 4)
    assert len(ran.result.fold_aurocs) == 2


def test_another_protocol_or_other_files_are_another_study_and_moved_files_are_not(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path
) -> None:
    parts = clean_parts(table)
    train, held, scored, found = parts[1]
    write(fold_folder, table, parts)
    write(fold_folder.with_name("moved"), table, parts)
    write(
        fold_folder.with_name("others"),
        table,
        [parts[0], (train[:-3], held, scored, found), parts[2]],
    )
    official = {"protocol": "official", "folds": fold_folder}
    ran = run(tiny_spec(space=QUICK, search=official))
    moved = official | {"folds": fold_folder.with_name("moved")}
    assert run(tiny_spec(space=QUICK, search=moved)).result == ran.result
    with pytest.raises(StudyError, match=r"labels|search"):
        run(tiny_spec(space=QUICK))
    with pytest.raises(StudyError, match="the fold files list other images than when it began"):
        run(tiny_spec(space=QUICK, search=official | {"folds": fold_folder.with_name("others")}))


def test_the_fold_of_a_file_decides_the_digest_of_its_tasks_alone(
    tiny_spec: Any, prepare: Any, table: pd.DataFrame, fold_folder: Path
) -> None:
    parts = clean_parts(table)
    write(fold_folder, table, parts)
    spec = tiny_spec(search={"protocol": "official", "folds": fold_folder})
    first = prepare(spec)
    train, held, scored, found = parts[1]
    write(fold_folder, table, [parts[0], (train[:-3], held, scored, found), parts[2]])
    second, clean = prepare(spec), prepare(tiny_spec())
    other_seed = prepare(tiny_spec(search={"seed": 1}))
    params = clean.space.grid[0]
    same = [first.task(params, n).digest == second.task(params, n).digest for n in range(3)]
    assert same == [True, False, True]
    assert [ready.task(params, 0).fold_digest for ready in (clean, other_seed)] == [
        ready.folds[0].digest for ready in (first, other_seed)
    ]
    assert clean.folds[0].digest != other_seed.folds[0].digest
    finals = {ready.final_task(params, run=0, steps=4).digest for ready in (first, second, clean)}
    assert len(finals) == 1, "all normals are trained on in every protocol"


def test_a_window_reaches_the_pixels(tmp_path: Path, cache: Path, notes: Notes) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "deep.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "label_index", "split"])
        for number in range(16):
            name, label = f"{number}.png", int(number % 4 == 3)
            pixels = rng.integers(0, 4096, (16, 16)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / name)
            rows.writerow([name, label, "train" if number < 12 else "test"])
    settings = {
        "study_name": "deep",
        "dataset": {"name": str(tmp_path / "deep.csv")},
        "labels": {"n_examples": 2},
        "detector": "features",
        "backbone": {"name": "vgg-mini"},
        "space": {"preprocessing": {"resolution": [16]}},
    }
    with pytest.raises(DataError, match="holds more than 8 bits"):
        load_inputs(build_spec(settings, {}), cache_dir=cache, workers=1, listener=notes)
    spec = build_spec(settings, {"dataset": {"window": [1000, 3000]}})
    prepared = load_inputs(spec, cache_dir=cache, workers=1, listener=notes)
    (stored,) = map(np.load, prepared.pixels.values())
    values = np.asarray(Image.open(tmp_path / "0.png")).astype(float)
    expected = np.rint((values - 1000).clip(0, 2000) / 2000 * 255)
    assert np.array_equal(stored[0, ..., 0], expected)


def test_findings_of_x_rays_are_counted_as_asked_and_notes_are_told_once(
    tmp_path: Path, cache: Path, notes: Notes
) -> None:
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Gender,View Position\n"
    kinds = ["No Finding"] * 6 + ["Mass", "Mass|Nodule"]
    lines, lists = [], {"train_val_list.txt": [], "test_list.txt": []}  # type: ignore[var-annotated]
    (tmp_path / "images").mkdir()
    for side, (file, names) in enumerate(lists.items()):
        for number, findings in enumerate(kinds):
            patient = 100 * side + number
            name = f"{patient:08d}_000.png"
            lines.append(f"{name},{findings},0,{patient},40,M,PA\n")
            names.append(name)
            pixels = np.random.default_rng(patient).integers(0, 256, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name)
        (tmp_path / file).write_text("\n".join(names))
    (tmp_path / "Data_Entry_2017.csv").write_text(header + "".join(lines))
    settings = {
        "study_name": "x-rays",
        "dataset": {"name": "nih-pa", "root": str(tmp_path)},
        "labels": {"n_examples": 1},
        "detector": "features",
        "backbone": {"name": "vgg-mini"},
        "space": {"preprocessing": {"resolution": [16]}},
    }

    def training_types(**dataset: str) -> list[str]:
        spec = build_spec(settings, {"dataset": dataset})
        made = load_inputs(spec, cache_dir=cache, workers=1, listener=notes).dataset.table
        return made["anomaly_type"][(made["label"] == 1) & (made["split"] == "train")].tolist()

    assert training_types() == ["Mass"]
    (note,) = notes.lines
    assert note.startswith("1 training images with several findings are set aside")
    assert training_types(multi_label="first") == ["Mass", "Mass"]
    assert len(notes.lines) == 1


def test_files_that_were_changed_are_refused(
    run: Any, tiny_spec: Any, table: pd.DataFrame, fold_folder: Path
) -> None:
    parts = clean_parts(table)
    write(fold_folder, table, parts)
    spec = tiny_spec(space=QUICK, search={"protocol": "official", "folds": fold_folder})
    run(spec)
    train, held, scored, found = parts[1]
    write(fold_folder, table, [parts[0], (train[:-3], held, scored, found), parts[2]])
    with pytest.raises(StudyError, match="the fold files list other images than when it began"):
        run(spec)
