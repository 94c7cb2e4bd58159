"""The result and the model of a final training on disk: `final/<trial>/{result.json, model/}`."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpsearch.errors import StudyError, WeightsError
from hpsearch.evaluation.choice import Choice, LeftOutType, Verdict
from hpsearch.evaluation.conformal import ConformalThreshold
from hpsearch.evaluation.result import FinalResult
from hpsearch.evaluation.threshold import Estimate, Flagging
from hpsearch.io.files import remove_leftovers, write_directory_atomic, write_text_atomic
from hpsearch.model.bundle import read_bundle, write_bundle
from hpsearch.model.facts import ModelFacts
from hpsearch.storage.database import completed_trials, load_study
from hpsearch.storage.run_dir import RunDir

RESULT = "result.json"


def write_final(folder: Path, result: FinalResult, *, saved: Path, facts: ModelFacts) -> None:
    """Write `final/<trial>/{result.json, model/}`, replacing an earlier one of the same trial.

    Args:
        folder: `final/`.
        result: of the trial.
        saved: what the detector of its first final training saved.
        facts: of the model.
    """
    target = folder / str(result.trial)
    remove_leftovers(target)
    shutil.rmtree(target, ignore_errors=True)
    with write_directory_atomic(target) as partial:
        (partial / RESULT).write_text(_json(result))
        write_bundle(partial / "model", saved=saved, facts=facts)


def rewrite_final(folder: Path, result: FinalResult) -> None:
    """Write the facts of a final model anew, and leave the model as it is."""
    path = folder / str(result.trial) / RESULT
    remove_leftovers(path)
    write_text_atomic(path, _json(result))


def read_final(folder: Path, trial: int) -> FinalResult | None:
    """The result of a trial's final model, None where it has not been trained.

    Raises:
        StudyError: the file is damaged.
    """
    path = folder / str(trial) / RESULT
    if not path.exists():
        return None
    try:
        return _result(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StudyError(
            f"{path}: damaged, or of an earlier version; run the same `hpsearch run` again, which "
            "makes it anew"
        ) from error


def what_is_damaged(folder: Path, trial: int) -> str | None:
    """What of a trial's final model is lost or damaged, None where it is whole or not there."""
    place = folder / str(trial)
    if not place.is_dir():
        return None
    try:
        if read_final(folder, trial) is None:
            return f"{place / RESULT}: is gone"
        read_bundle(place / "model")
    except (StudyError, WeightsError) as error:
        return str(error).partition(";")[0]
    return None


def read_winner(folder: RunDir) -> FinalResult:
    """The answer of a study.

    Raises:
        StudyError: there is none yet, or it is damaged.
    """
    if not folder.winner_file.exists():
        completed_trials(load_study(folder.path))  # says so where there is none to choose from
    result = read_final(folder.final, folder.winner())
    if result is None:
        raise folder.unfinished()
    return result


def _json(result: FinalResult) -> str:
    return json.dumps(asdict(result), indent=1)


def _result(values: dict[str, Any]) -> FinalResult:
    for name in ("test", "seen", "unseen"):
        values[name] = Estimate(**values[name]) if values[name] else None
    values["references"] = tuple((name, Estimate(**e)) for name, e in values["references"])
    values["choices"] = tuple(
        Choice(**choice | {"test": Estimate(**choice["test"])}) for choice in values["choices"]
    )
    for name in ("fold_aurocs", "runs", "tasks"):
        values[name] = tuple(values[name])
    values["verdict"] = _verdict(values["verdict"])
    if (found := values["flagging"]) is not None:
        threshold = ConformalThreshold(**found["threshold"])
        values["flagging"] = Flagging(**found | {"threshold": threshold})
    return FinalResult(**values)


def _verdict(values: dict[str, Any]) -> Verdict:
    left_out = tuple(LeftOutType(**one) for one in values["left_out_types"])
    return Verdict(**values | {"tied": tuple(values["tied"]), "left_out_types": left_out})
