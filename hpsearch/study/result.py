"""The answer of a study: its choice trained on all normals, the figure beside what it must beat.

On disk it is `final/<trial>/{result.json, model/}`; an average of several is `final/average/`.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.config.space import Params, describe
from hpsearch.config.spec import Values
from hpsearch.errors import StudyError, WeightsError
from hpsearch.evaluation.auroc import Estimate, estimate, mean_auroc
from hpsearch.evaluation.averaging import Part, averaged_run
from hpsearch.evaluation.selection import CriterionChoice, HeldOutType, LeftOutType, Selection
from hpsearch.evaluation.threshold import ConformalThreshold, Flagging
from hpsearch.io.files import remove_leftovers, write_directory_atomic, write_text_atomic
from hpsearch.model.bundle import read_bundle
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.storage.database import completed_trials, load_study
from hpsearch.storage.results import FoldResult, read_result
from hpsearch.storage.run_dir import AVERAGE, FinalName, RunDir
from hpsearch.storage.trials import facts_of

COLOURS: Mapping[str, Params] = {
    "colour statistics, Mahalanobis": {"kind": "mahalanobis", "layer": "colour"},
    "colour statistics, isolation forest": {"kind": "isolation_forest", "layer": "colour"},
}
"""Rows of the `features` detector beside every result, which show where colour alone decides."""

_FROZEN = "frozen {network} {layer}, Mahalanobis"


def frozen_rows(network: str, layers: Sequence[str]) -> dict[str, Params]:
    """Rows of the `features` detector beside a result of a study that does not search it.

    Args:
        network: its name.
        layers: all that it has.
    """
    is_vgg = {"r32", "r42"} <= set(layers)
    return {
        _FROZEN.format(network="VGG" if is_vgg else network, layer=layer): {
            "kind": "mahalanobis",
            "layer": layer,
        }
        for layer in (("r32", "r42") if is_vgg else layers[-3:-1])
    }


_OF_AN_AVERAGE = ("members", "single", "price")


@dataclass(frozen=True)
class Member:
    """One of the detectors that a final model averages.

    Attributes:
        trial: its number.
        detector: its detector.
        params: its configuration.
        trained_on_labels: whether it was fitted on the labelled anomalies too.
        parts: how the scores of each of its final trainings count.
        tasks: digests of these.
        test: its own test ROC AUC.
    """

    trial: int
    detector: str
    params: Params
    trained_on_labels: bool
    parts: tuple[Part, ...]
    tasks: tuple[str, ...]
    test: Estimate

    @property
    def weight(self) -> float:
        """Its share of the average."""
        return self.parts[0].weight


@dataclass(frozen=True)
class Price:
    """What an average costs to score an image, and what the single best does.

    Attributes:
        average, single: milliseconds an image, opened and preprocessed, measured where the study
            was finished.
        n_images: how many it was measured on.
        device: on which.
    """

    average: float
    single: float
    n_images: int
    device: str


@dataclass(frozen=True)
class FinalResult:
    """The answer of a study, or what another criterion than the study's would have answered.

    Of an average the configuration, the values by the criteria and the steps are those of the
    single trial that would have been chosen.

    Attributes:
        trial: number of the chosen trial.
        params: its configuration.
        value: its mean over folds by the study's criterion.
        criteria: the same by every criterion.
        fold_aurocs: validation ROC AUC of its folds, the values by `weak`.
        steps: that each final training took.
        test: test ROC AUC over all anomalies of the final figure.
        seen: of the types that the search saw, None where no test image of them is left.
        unseen: of types that it never saw, None where there are none.
        runs: test ROC AUC of each final training.
        references: name and estimate of what the winner has to beat.
        tasks: digests of the final trainings.
        choices: of every criterion in this study.
        selection: what the labelled anomalies decided, whichever criterion chose this one.
        flagging: by the first final model, None where there are too few normals for a threshold.
        members: of an average; empty for a single detector.
        single: of an average, what `test` is of the single trial.
        price: of an average, None before it has been measured.
    """

    trial: int
    params: Params
    value: float
    criteria: Values
    fold_aurocs: tuple[float, ...]
    steps: int
    test: Estimate
    seen: Estimate | None
    unseen: Estimate | None
    runs: tuple[float, ...]
    references: tuple[tuple[str, Estimate], ...]
    tasks: tuple[str, ...]
    choices: tuple[CriterionChoice, ...]
    selection: Selection
    flagging: Flagging | None
    members: tuple[Member, ...] = ()
    single: Estimate | None = None
    price: Price | None = None

    @property
    def name(self) -> FinalName:
        """Under which it lies in the run directory."""
        return AVERAGE if self.members else self.trial

    @property
    def has_head(self) -> bool:
        """Whether it averages a detector that is trained on labelled anomalies."""
        return any(member.trained_on_labels for member in self.members)

    def in_words(self) -> str:
        """What the final model is: a configuration, or of what it is the average."""
        if not self.members:
            return describe(self.params)
        n_heads = sum(member.trained_on_labels for member in self.members)
        n_others = len(self.members) - n_heads
        heads = "one" if n_others else "detector"
        named = [f"{n_others} detector{'s' if n_others > 1 else ''}"] if n_others else []
        named += [f"{heads} trained on the labels"] if n_heads else []
        only = "" if len(self.members) == 1 else "average of "
        return f"{only}{' and '.join(named)}"

    def settings_of(self, member: Member) -> Params:
        """The settings of a member that are not those of all; of a sole one all."""
        if len(self.members) == 1:
            return member.params
        return {
            axis: value
            for axis, value in member.params.items()
            if any(other.params.get(axis) != value for other in self.members)
        }

    def simpler_and_as_good(self) -> tuple[str, Estimate] | None:
        """The best simple method that reaches the winner, but for the winner itself.

        The best of another detector of the same search is none.
        """
        kind, layer = self.params.get("kind"), self.params.get("layer")
        itself = f" {layer}, Mahalanobis" if kind == "mahalanobis" else None
        reaching = [
            (name, estimate)
            for name, estimate in self.references
            if estimate.auroc >= self.test.auroc
            and (name in COLOURS or name.startswith(_FROZEN.partition(" ")[0]))
            and not (itself and name.endswith(itself))
            and not COLOURS.get(name, {"": ""}).items() <= self.params.items()
        ]
        return max(reaching, key=lambda row: row[1].auroc, default=None)


def final_result(
    trial: FrozenTrial,
    runs: Sequence[FoldResult],
    references: Mapping[str, FoldResult],
    *,
    choices: tuple[CriterionChoice, ...],
    selection: Selection,
    flagging: Flagging | None,
    table: pd.DataFrame,
    roles: EvaluationRoles,
    steps: int,
    seed: int,
) -> FinalResult:
    """Put the test figures together from stored scores."""

    def figure(results: Sequence[FoldResult], anomalies: Positions) -> Estimate:
        return estimate(results, table, roles.normals, anomalies, seed=seed)

    facts = facts_of(trial)
    return FinalResult(
        trial=trial.number,
        params=trial.params,
        value=float(trial.value or 0.0),
        criteria=facts.criteria,
        fold_aurocs=tuple(facts.fold_values["weak"]),
        steps=steps,
        test=figure(runs, roles.headline),
        seen=figure(runs, roles.seen) if len(roles.seen) else None,
        unseen=figure(runs, roles.unseen) if len(roles.unseen) else None,
        runs=tuple(mean_auroc([run], table, roles.normals, roles.headline) for run in runs),
        references=tuple(
            (name, figure([result], roles.headline)) for name, result in references.items()
        ),
        tasks=tuple(run.digest for run in runs),
        choices=choices,
        selection=selection,
        flagging=flagging,
    )


def write_final(folder: RunDir, result: FinalResult, write_model: Callable[[Path], None]) -> None:
    """Write `final/<name>/{result.json, model/}`, replacing an earlier one of the same name.

    Args:
        folder: of the study.
        result: of the model.
        write_model: makes the bundle at a path.
    """
    target = folder.final_of(result.name)
    remove_leftovers(target)
    shutil.rmtree(target, ignore_errors=True)
    with write_directory_atomic(target) as partial:
        (partial / folder.result_file(result.name).name).write_text(_json(result))
        write_model(partial / folder.model(result.name).name)


def rewrite_final(folder: RunDir, result: FinalResult) -> None:
    """Write the facts of a final model anew, and leave the model as it is."""
    path = folder.result_file(result.name)
    remove_leftovers(path)
    write_text_atomic(path, _json(result))


def read_final(folder: RunDir, name: FinalName) -> FinalResult | None:
    """The result of a final model, None where it has not been trained.

    Raises:
        StudyError: the file is damaged.
    """
    path = folder.result_file(name)
    if not path.exists():
        return None
    try:
        return _result(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StudyError(
            f"{path}: damaged, or of an earlier version; run the same `hpsearch run` again, which "
            "makes it anew"
        ) from error


def what_is_damaged(folder: RunDir, name: FinalName) -> str | None:
    """What of a final model is lost or damaged, None where it is whole or not there."""
    if not folder.final_of(name).is_dir():
        return None
    try:
        if read_final(folder, name) is None:
            return f"{folder.result_file(name)}: is gone"
        read_bundle(folder.model(name))
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
    result = read_final(folder, folder.winner())
    if result is None:
        raise folder.unfinished()
    return result


def final_runs(folder: RunDir, result: FinalResult) -> tuple[FoldResult, ...]:
    """The final trainings of a result; of an average, those of its members as one each.

    Raises:
        StudyError: one of them is gone or damaged.
    """
    if not result.members:
        return stored_runs(folder, result.tasks)
    trainings = [stored_runs(folder, member.tasks) for member in result.members]
    parts = [member.parts for member in result.members]
    return tuple(
        averaged_run(runs, of_run)
        for runs, of_run in zip(zip(*trainings, strict=True), zip(*parts, strict=True), strict=True)
    )


def stored_runs(folder: RunDir, digests: Sequence[str]) -> tuple[FoldResult, ...]:
    """Trainings of the winner.

    Raises:
        StudyError: one of them is gone or damaged.
    """
    found = {digest: read_result(folder.tasks, digest) for digest in digests}
    for digest, result in found.items():
        if result is None:
            raise StudyError(
                f"{folder.tasks / digest}: a result of the winner is gone; put it back, or run "
                "the same `hpsearch run` again"
            )
    return tuple(result for result in found.values() if result is not None)


def _json(result: FinalResult) -> str:
    names = {"selection": "verdict"}  # on disk, as earlier versions have it
    values = {names.get(name, name): value for name, value in asdict(result).items()}
    if not result.members:
        for name in _OF_AN_AVERAGE:
            del values[name]
    return json.dumps(values, indent=1)


def _result(values: dict[str, Any]) -> FinalResult:
    for name in ("test", "seen", "unseen", "single"):
        if name in values:
            values[name] = Estimate(**values[name]) if values[name] else None
    if "members" in values:
        values["members"] = tuple(_member(member) for member in values["members"])
        values["price"] = Price(**values["price"]) if values["price"] else None
    values["references"] = tuple((name, Estimate(**e)) for name, e in values["references"])
    values["choices"] = tuple(
        CriterionChoice(**choice | {"test": Estimate(**choice["test"])})
        for choice in values["choices"]
    )
    for name in ("fold_aurocs", "runs", "tasks"):
        values[name] = tuple(values[name])
    chosen = values.pop("verdict")
    # Earlier versions trained no detector on labels.
    for name, kind in (("left_out_types", LeftOutType), ("held_out_types", HeldOutType)):
        chosen[name] = tuple(kind(**one) for one in chosen.get(name, ()))
    values["selection"] = Selection(**chosen | {"tied": tuple(chosen["tied"])})
    if (flagging := values["flagging"]) is not None:
        threshold = ConformalThreshold(**flagging["threshold"])
        values["flagging"] = Flagging(**flagging | {"threshold": threshold})
    return FinalResult(**values)


def _member(values: dict[str, Any]) -> Member:
    parts = tuple(Part(**part) for part in values["parts"])
    test = Estimate(**values["test"])
    return Member(**values | {"parts": parts, "tasks": tuple(values["tasks"]), "test": test})
