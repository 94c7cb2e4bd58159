"""The final model that averages the best few detectors of a study: trained, weighed and timed.

Its members are ordinary final trainings of their configurations, which the single choice and a
label budget share with it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.config.spec import StudySpec
from hpsearch.detectors.base import trains_on_labels
from hpsearch.errors import TaskError
from hpsearch.evaluation.auroc import Estimate, estimate, mean_auroc
from hpsearch.evaluation.averaging import (
    Part,
    averaged_run,
    averaged_scores,
    part_of,
    weights_of,
)
from hpsearch.evaluation.selection import Selection, held_out_scores, threshold_of
from hpsearch.evaluation.stored_scores import FloatArray, StoredScores
from hpsearch.evaluation.threshold import flagged
from hpsearch.model.bundle import (
    Calibration,
    SavedMember,
    attach_calibration,
    write_average,
)
from hpsearch.model.model import load_model
from hpsearch.protocol.folds import Positions
from hpsearch.search.engine import Engine, run_tasks
from hpsearch.search.events import Listener
from hpsearch.search.task import Task
from hpsearch.storage.database import mean_best_step
from hpsearch.storage.results import FoldResult, read_result
from hpsearch.storage.run_dir import AVERAGE, FinalName, RunDir
from hpsearch.storage.trials import facts_of
from hpsearch.study.final_model import (
    calibration_of,
    facts_of_model,
    forget_without_model,
    provenance_of,
)
from hpsearch.study.heads import select_head
from hpsearch.study.inputs import StudyInputs
from hpsearch.study.result import (
    FinalResult,
    Member,
    Price,
    read_final,
    rewrite_final,
    what_is_damaged,
    write_final,
)

_OWN = ("test", "seen", "unseen", "runs", "tasks", "members", "price")
"""What a result says of an average itself, and not of the single trial."""

_TIMED, _WARM = 16, 2  # images


def averages(spec: StudySpec) -> bool:
    """Whether the final model of a study may average: as asked for, or where labels train one."""
    if spec.final.model != "auto":
        return spec.final.model == "average"
    return spec.search.criterion == "weak" and any(map(trains_on_labels, spec.detectors))


@dataclass(frozen=True, eq=False)
class _Trained:
    """A member: its final trainings and how each counts, and held-out normals as by the first.

    These by fold and position, for a detector that is trained on labels does not score all.
    """

    trial: FrozenTrial
    tasks: Sequence[Task]
    runs: Sequence[FoldResult]
    held_out: pd.Series
    parts: tuple[Part, ...]

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(task.digest for task in self.tasks)


@dataclass(frozen=True)
class AverageTraining:
    """Makes a study's average; everything that an earlier run did is kept.

    Attributes:
        inputs, folder: of the study.
        engine: where members are trained.
        listener: told of progress.
        stored: scores of the trials that one may choose from.
        heads: those of the trials that were trained on labels beside them, None for none.
        device: where the model is timed.
    """

    inputs: StudyInputs
    folder: RunDir
    engine: Engine
    listener: Listener
    stored: StoredScores
    heads: StoredScores | None
    device: str

    def result(self, single: FinalResult) -> FinalResult:
        """The average of the best few, or `single` where there is nothing to average.

        Args:
            single: of the trial that would be the answer alone.
        """
        if self.stored.trained_on_labels:
            return single
        if self.heads is None and self.inputs.spec.final.model == "auto":
            return single
        head = None
        if self.heads is not None:
            head = select_head(self.inputs, self.heads, self.engine, self.listener)
            types = replace(single.selection, held_out_types=head.held_out_types)
            single = replace(single, selection=types)
        members = self._trained(single, head)
        if [member.trial.number for member in members] in ([], [single.trial]):
            return single
        runs = [
            averaged_run([one.runs[n] for one in members], [one.parts[n] for one in members])
            for n in range(self.inputs.spec.final.n_runs)
        ]
        held_out = averaged_scores(_held_out_of_all(members), [one.parts[0] for one in members])
        rate = self.inputs.spec.final.false_positive_rate
        threshold, calibration = (
            threshold_of(held_out, rate=rate),
            calibration_of(held_out, rate=rate),
        )
        flagging = None
        if threshold is not None:
            flagging = flagged(threshold, runs[0], self.inputs.dataset.table, self.inputs.roles)
        known = self._known()
        if known is not None and [(one.parts, one.tasks) for one in known.members] == [
            (one.parts, one.digests) for one in members
        ]:
            own = {name: getattr(known, name) for name in _OWN}
            result = replace(single, **own, flagging=flagging, single=single.test)
            if result != known:  # there are more trials now, or another rate is asked for
                rewrite_final(self.folder, result)
                if calibration is not None:
                    attach_calibration(self.folder.model(AVERAGE), calibration)
        else:
            own = self._figures(members, runs)
            result = replace(single, **own, flagging=flagging, single=single.test)
            write = partial(self._write, members=members, result=result, calibration=calibration)
            write_final(self.folder, result, write)
        if result.price is None:
            result = replace(result, price=self._price(single))
            rewrite_final(self.folder, result)
        return result

    def _known(self) -> FinalResult | None:
        """What an earlier run wrote, where it is whole."""
        damaged = what_is_damaged(self.folder, AVERAGE)
        if damaged is None:
            return read_final(self.folder, AVERAGE)
        self.listener.note(f"{damaged}; made anew")
        return None

    def _trained(self, single: FinalResult, head: Selection | None) -> list[_Trained]:
        """Train the members; into the place of one that fails moves the next best."""
        criterion = self.inputs.spec.search.criterion
        values = {one.number: facts_of(one).criteria[criterion] for one in self.stored.trials}
        best_head = None if head is None else head.trial
        head_holds = self.inputs.spec.final.model == "auto" and _head_holds(head, single)
        failed: set[int] = set()
        while True:
            weights = weights_of(
                {number: value for number, value in values.items() if number not in failed},
                head=None if best_head in failed else best_head,
                head_holds=head_holds,
            )
            tasks = {number: self._tasks(number) for number in weights}
            for first, *_ in tasks.values():
                forget_without_model(self.folder, first, self.listener)
            done = self._outcomes([task for of_one in tasks.values() for task in of_one])
            members = []
            for number, weight in weights.items():
                runs = [done[task.digest] for task in tasks[number]]
                failure = next((run for run in runs if isinstance(run, TaskError)), None)
                if failure is None:
                    whole = [run for run in runs if isinstance(run, FoldResult)]
                    members.append(self._weighed(number, tasks[number], whole, weight))
                else:
                    failed.add(number)
                    self.listener.note(
                        f"warning: trial {number} is left out of the average: {failure.reason}: "
                        f"{failure.message}"
                    )
            if len(members) == len(weights):
                return members

    def _tasks(self, number: int) -> list[Task]:
        """The final trainings of a trial."""
        trial = self._trial(number)
        return [
            self.inputs.final_task(trial.params, run=run, steps=mean_best_step(trial))
            for run in range(self.inputs.spec.final.n_runs)
        ]

    def _outcomes(self, tasks: Sequence[Task]) -> dict[str, FoldResult | TaskError]:
        """What became of tasks; those on disk are read, and wait for no worker."""
        outcomes: dict[str, FoldResult | TaskError] = {}
        for task in tasks:
            if (known := read_result(self.folder.tasks, task.digest)) is not None:
                outcomes[task.digest] = known
        missing = [task for task in tasks if task.digest not in outcomes]
        if missing:
            what = "training the members of the average"
            outcomes |= run_tasks(missing, self.engine, self.listener, what)
        return outcomes

    def _weighed(
        self, number: int, tasks: Sequence[Task], runs: Sequence[FoldResult], weight: float
    ) -> _Trained:
        """A member with its scores in units of its held-out normals."""
        stored = self.stored
        if self.heads is not None and number in {trial.number for trial in self.heads.trials}:
            stored = self.heads
        held_out = [held_out_scores(stored, number, self.inputs.labelled, run) for run in runs]
        parts = tuple(part_of(scores, weight=weight) for scores in held_out)
        images = pd.MultiIndex.from_tuples(
            (fold, position) for fold, of in enumerate(stored.normals) for position in of
        )
        first = pd.Series(held_out[0], images)
        return _Trained(self._trial(number), tasks, runs, first, parts)

    def _trial(self, number: int) -> FrozenTrial:
        trials = (*self.stored.trials, *(self.heads.trials if self.heads else ()))
        return next(trial for trial in trials if trial.number == number)

    def _figures(self, members: Sequence[_Trained], runs: Sequence[FoldResult]) -> dict[str, Any]:
        """What a result says of an average itself; the price is measured later."""
        table, roles = self.inputs.dataset.table, self.inputs.roles
        seed = self.inputs.spec.search.seed

        def figure(of: Sequence[FoldResult], anomalies: Positions) -> Estimate | None:
            if not len(anomalies):
                return None
            return estimate(of, table, roles.normals, anomalies, seed=seed)

        told = tuple(
            Member(
                one.trial.number,
                one.tasks[0].detector,
                dict(one.tasks[0].params),
                trains_on_labels(one.tasks[0].detector),
                one.parts,
                one.digests,
                estimate(one.runs, table, roles.normals, roles.headline, seed=seed),
            )
            for one in members
        )
        return {
            "test": figure(runs, roles.headline),
            "seen": figure(runs, roles.seen),
            "unseen": figure(runs, roles.unseen),
            "runs": tuple(mean_auroc([run], table, roles.normals, roles.headline) for run in runs),
            "tasks": tuple(digest for one in members for digest in one.digests),
            "members": told,
            "price": None,
        }

    def _write(
        self,
        target: Path,
        *,
        members: Sequence[_Trained],
        result: FinalResult,
        calibration: Calibration | None,
    ) -> None:
        saved = []
        for one, member in zip(members, result.members, strict=True):
            task = one.tasks[0]
            provenance = provenance_of(
                self.inputs,
                self.folder,
                member.test,
                trial=member.trial,
                task=task.digest,
                steps=task.steps,
            )
            facts = facts_of_model(self.inputs, task, provenance)
            saved.append(
                SavedMember(self.folder.tasks / task.digest / "model", facts, one.parts[0])
            )
        provenance = provenance_of(self.inputs, self.folder, result.test)
        write_average(target, saved, provenance=provenance, calibration=calibration)

    def _price(self, single: FinalResult) -> Price:
        """Time both models on test images that are in memory."""
        dataset, weights = self.inputs.dataset, self.inputs.spec.backbone.weights
        test = np.flatnonzero(dataset.table["split"] == "test")[:_TIMED]
        images = [dataset.open(position) for position in test]

        def milliseconds(name: FinalName) -> float:
            place = self.folder.model(name)
            model = load_model(place, device=self.device, backbone_weights=weights)
            model.score(images[:_WARM])
            started = time.perf_counter()
            model.score(images)
            return 1000 * (time.perf_counter() - started) / len(images)

        return Price(milliseconds(AVERAGE), milliseconds(single.name), len(images), self.device)


def _head_holds(head: Selection | None, single: FinalResult) -> bool:
    """Whether a head finds every labelled type, trained without it, as well as any detector.

    One labelled type shows nothing of others.
    """
    types = () if head is None else head.held_out_types
    best = {one.name: one.best for one in single.selection.left_out_types}
    return len(types) > 1 and all(one.unseen >= best.get(one.name, 1.0) for one in types)


def _held_out_of_all(members: Sequence[_Trained]) -> list[FloatArray]:
    """Each member's scores `(n,)` of the held-out normals that all of them score."""
    columns = [one.held_out for one in members]
    scores = pd.concat(columns, axis=1, join="inner", keys=range(len(columns)))
    return [scores[number].to_numpy(dtype=np.float64) for number in scores]
