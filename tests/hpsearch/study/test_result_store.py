import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hpsearch.errors import StudyError
from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.selection import CriterionChoice, LeftOutType, Selection
from hpsearch.evaluation.threshold import ConformalThreshold, Flagging
from hpsearch.model.bundle import (
    BackboneFacts,
    ModelFacts,
    Provenance,
    preprocessing_facts,
    read_bundle,
    write_bundle,
)
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.result import FinalResult, read_final, read_winner, rewrite_final, write_final

ESTIMATE = Estimate(2 / 3, 0.5, 0.8, 4, 4)
PARAMS = {
    "resolution": 16,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "crop",
    "greyscale": False,
    "equalize": False,
}
RESULT = FinalResult(
    trial=7,
    params=PARAMS,
    value=0.1 + 0.2,
    criteria={"weak": 0.1 + 0.2, "unsupervised": -1 / 3, "synthetic": 0.75},
    fold_aurocs=(0.5, 1 / 3),
    steps=12,
    test=ESTIMATE,
    seen=None,
    unseen=ESTIMATE,
    runs=(0.75, 1.0),
    references=(("colour", ESTIMATE),),
    tasks=("a", "b"),
    choices=(
        CriterionChoice("weak", 7, 0.3, ESTIMATE, 0.0),
        CriterionChoice("synthetic", 3, 1 / 3, ESTIMATE, 0.1),
    ),
    selection=Selection(7, "trial 7: smallest", (7, 3), (LeftOutType("blobs", 3, 7, 0.9, 1.0),)),
    flagging=Flagging(ConformalThreshold(0.05, 1 / 3, 0.1, 40), 0.0, 2 / 3),
)
FACTS = ModelFacts(
    detector="features",
    params=PARAMS,
    seed=0,
    preprocessing=preprocessing_facts(PARAMS, channels=3),
    backbone=BackboneFacts(name="vgg-mini", digest="0" * 64),
    provenance=Provenance(study="tiny"),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """What a detector saved."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"tensors")
    return folder


@pytest.mark.parametrize("result", [RESULT, replace(RESULT, flagging=None, seen=ESTIMATE)])
def test_round_trip(result: FinalResult, saved: Path, tmp_path: Path) -> None:
    write_final(RunDir(tmp_path), result, partial(write_bundle, saved=saved, facts=FACTS))
    assert read_final(RunDir(tmp_path), 7) == result
    stored = json.loads(RunDir(tmp_path).result_file(7).read_text())
    assert stored["verdict"]["tied"] == [7, 3], "under the name that earlier studies have"
    assert list(read_bundle(tmp_path / "final" / "7" / "model").files) == ["model.safetensors"]
    assert read_final(RunDir(tmp_path), 99) is None


def test_a_result_is_replaced_whole(saved: Path, tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    final = folder.final
    write_final(folder, RESULT, partial(write_bundle, saved=saved, facts=FACTS))
    (final / "7" / "stray").touch()
    (final / ".tmp-0123456789ab-7").mkdir()  # of a killed writer
    write_final(folder, RESULT, partial(write_bundle, saved=saved, facts=FACTS))
    names = {path.name for path in final.rglob("*")}
    assert names == {"7", "result.json", "model", "model.json", "model.safetensors"}


def test_facts_are_rewritten_beside_the_same_model(saved: Path, tmp_path: Path) -> None:
    write_final(RunDir(tmp_path), RESULT, partial(write_bundle, saved=saved, facts=FACTS))
    fewer = replace(RESULT, choices=RESULT.choices[:1])
    rewrite_final(RunDir(tmp_path), fewer)
    assert read_final(RunDir(tmp_path), 7) == fewer
    assert read_bundle(tmp_path / "final" / "7" / "model")


def test_the_winner_is_the_answer_of_the_study(saved: Path, tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    folder.environment_file.write_text('{"data_fingerprint": "f", "backbone_digest": "b"}')
    folder.record_winner(7)
    with pytest.raises(StudyError, match="the winner is not trained yet"):
        read_winner(folder)
    write_final(folder, RESULT, partial(write_bundle, saved=saved, facts=FACTS))
    assert read_winner(folder) == RESULT


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"trial": 0, "fold_aurocs": []}'])
def test_facts_that_are_damaged_or_old_are_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "final" / "7" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(StudyError, match=r"^.*7/result\.json: damaged, .* which makes it anew$"):
        read_final(RunDir(tmp_path), 7)
