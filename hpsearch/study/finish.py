"""The end of a study: choose, train the choice on all normals, and say how good it is.

`train_final_models` trains others that a label budget asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from hpsearch.config.space import configuration
from hpsearch.config.spec import Criterion
from hpsearch.detectors.base import cost_of, size_of
from hpsearch.errors import StudyError, TaskError
from hpsearch.evaluation.selection import (
    CriterionChoice,
    Selection,
    compare_choices,
    held_out_scores,
    select,
    threshold_of,
)
from hpsearch.evaluation.stored_scores import FloatArray, StoredScores, read_heads, read_scores
from hpsearch.evaluation.threshold import Flagging, flagged
from hpsearch.model.bundle import Calibration, attach_calibration, write_bundle
from hpsearch.search.engine import Engine, plan_workers, require_results, run_tasks
from hpsearch.search.events import Listener
from hpsearch.search.task import Task
from hpsearch.storage.database import mean_best_step, winner
from hpsearch.storage.results import FoldResult, read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of
from hpsearch.study.average import AverageTraining, averages
from hpsearch.study.final_model import (
    calibration_of,
    facts_of_model,
    forget_without_model,
    provenance_of,
)
from hpsearch.study.heads import select_head
from hpsearch.study.inputs import StudyInputs, at_work, load_inputs
from hpsearch.study.result import (
    FinalResult,
    final_result,
    read_final,
    rewrite_final,
    what_is_damaged,
    write_final,
)


@dataclass(frozen=True)
class FinalTraining:
    """What follows the last trial of a search; everything that an earlier run did is kept.

    Attributes:
        study: whose search has ended.
        inputs, folder: of the study.
        engine: where final models are trained.
        listener: told of progress.
        retry_failed: train reference rows that failed before.
        device: where a final model that averages is timed.
    """

    study: optuna.Study
    inputs: StudyInputs
    folder: RunDir
    engine: Engine
    listener: Listener
    retry_failed: bool = False
    device: str = "auto"

    def results(self, criteria: Sequence[Criterion]) -> dict[Criterion, FinalResult]:
        """The choice of each criterion, trained.

        That of the study's own is its winner, or the average of the best few around it.
        """
        results = {}
        for criterion in criteria:
            if criterion == "weak":
                number = self._selection.trial
                chosen = next(one for one in self._stored.trials if one.number == number)
            else:
                chosen = winner(self.study, criterion)
            results[criterion] = self._finished(chosen)
        own = self.inputs.spec.search.criterion
        if own in results:
            if averages(self.inputs.spec):
                results[own] = self._average.result(results[own])
            self.folder.record_winner(results[own].name)
        return results

    @property
    def _average(self) -> AverageTraining:
        heads = None if self._stored.trained_on_labels else read_heads(self.folder)
        return AverageTraining(
            self.inputs,
            self.folder,
            self.engine,
            self.listener,
            stored=self._stored,
            heads=heads,
            device=self.device,
        )

    @cached_property
    def _stored(self) -> StoredScores:
        return read_scores(self.folder)

    @cached_property
    def _selection(self) -> Selection:
        spec = self.inputs.spec
        if self._stored.trained_on_labels:
            return select_head(self.inputs, self._stored, self.engine, self.listener)
        return select(
            self._stored,
            self.inputs.labelled,
            size_of=lambda params: size_of(*configuration(params, spec.detector)),
            cost_of=lambda params: cost_of(*configuration(params, spec.detector)),
            rule=spec.search.pick,
            seed=spec.search.seed,
        )

    @cached_property
    def _choices(self) -> tuple[CriterionChoice, ...]:
        return compare_choices(
            self.study,
            self._folds,
            criteria=self.inputs.spec.criteria,
            table=self.inputs.dataset.table,
            roles=self.inputs.roles,
            seed=self.inputs.spec.search.seed,
        )

    def _folds(self, trial: FrozenTrial) -> list[FoldResult]:
        tasks = self.folder.tasks
        results = [read_result(tasks, digest) for digest in facts_of(trial).tasks]
        whole = [result for result in results if result is not None]
        if len(whole) < len(results):
            raise StudyError(
                f"{tasks}: results of trial {trial.number} are gone; put them back, or run the "
                "same command again, which trains what is missing"
            )
        return whole

    def _finished(self, trial: FrozenTrial) -> FinalResult:
        """Train a chosen configuration and the reference rows, unless an earlier run has."""
        damaged = what_is_damaged(self.folder, trial.number)
        if damaged is not None:
            self.listener.note(f"{damaged}; made anew")
            return self._train(trial)
        known = read_final(self.folder, trial.number)
        rows = dict(known.references) if known else {}
        best = self._best_of_others(trial)
        wanted = len(best) + len(self.inputs.reference_tasks(trial.params))
        if (
            known is None
            or len(known.runs) != self.inputs.spec.final.n_runs
            or not best.keys() <= rows.keys()
            or (self.retry_failed and len(rows) < wanted)
        ):
            return self._train(trial)
        first = read_result(self.folder.tasks, known.tasks[0])
        current = replace(known, choices=self._choices, selection=self._selection)
        if first is not None:
            current = replace(current, flagging=self._flagging(trial, first))
        if current != known:  # there are more trials now, or another rate is asked for
            rewrite_final(self.folder, current)
            if first is not None and (calibration := self._calibration(trial, first)) is not None:
                attach_calibration(self.folder.model(trial.number), calibration)
        return current

    def _train(self, trial: FrozenTrial) -> FinalResult:
        spec, steps = self.inputs.spec, mean_best_step(trial)
        finals = [
            self.inputs.final_task(trial.params, run=run, steps=steps)
            for run in range(spec.final.n_runs)
        ]
        forget_without_model(self.folder, finals[0], self.listener)
        references = self._best_of_others(trial) | self.inputs.reference_tasks(trial.params)
        tasks, what = [*references.values(), *finals], "training the winner"
        done = run_tasks(tasks, self.engine, self.listener, what)
        runs = require_results(done, finals, f"{what}, trial {trial.number}")
        rows: dict[str, FoldResult] = {}
        for name, task in references.items():  # one that failed costs itself alone
            outcome = done[task.digest]
            if isinstance(outcome, TaskError):
                self.listener.note(
                    f"warning: no reference row {name}: {outcome.reason}: {outcome.message}; "
                    "--retry-failed tries it again"
                )
            else:
                rows[name] = outcome
        result = final_result(
            trial,
            runs,
            rows,
            choices=self._choices,
            selection=self._selection,
            flagging=self._flagging(trial, runs[0]),
            table=self.inputs.dataset.table,
            roles=self.inputs.roles,
            steps=steps,
            seed=spec.search.seed,
        )
        provenance = provenance_of(
            self.inputs,
            self.folder,
            result.test,
            trial=trial.number,
            task=finals[0].digest,
            steps=steps,
        )
        calibration = self._calibration(trial, runs[0])
        facts = facts_of_model(self.inputs, finals[0], provenance)
        facts = facts.model_copy(update={"calibration": calibration})
        saved = self.folder.tasks / finals[0].digest / "model"
        write_final(self.folder, result, partial(write_bundle, saved=saved, facts=facts))
        return result

    def _best_of_others(self, chosen: FrozenTrial) -> dict[str, Task]:
        """The final training of the best trial of each other detector that was searched."""
        heads = None if self._stored.trained_on_labels else read_heads(self.folder)
        trials = (*self._stored.trials, *(heads.trials if heads else ()))
        spec = self.inputs.spec
        own, _ = configuration(chosen.params, spec.detector)
        best: dict[str, FrozenTrial] = {}
        for trial in sorted(
            trials, key=lambda one: (-facts_of(one).criteria[spec.search.criterion], one.number)
        ):
            detector, _ = configuration(trial.params, spec.detector)
            if detector != own:
                best.setdefault(detector, trial)
        return {
            f"best of {detector}, trial {trial.number}": self.inputs.final_task(
                trial.params, run=0, steps=mean_best_step(trial)
            )
            for detector, trial in best.items()
        }

    def _flagging(self, trial: FrozenTrial, first: FoldResult) -> Flagging | None:
        rate = self.inputs.spec.final.false_positive_rate
        threshold = threshold_of(self._held_out(trial, first), rate=rate)
        if threshold is None:
            return None
        return flagged(threshold, first, self.inputs.dataset.table, self.inputs.roles)

    def _calibration(self, trial: FrozenTrial, first: FoldResult) -> Calibration | None:
        rate = self.inputs.spec.final.false_positive_rate
        return calibration_of(self._held_out(trial, first), rate=rate)

    def _held_out(self, trial: FrozenTrial, first: FoldResult) -> FloatArray:
        return held_out_scores(self._stored, trial.number, self.inputs.labelled, first)


def train_final_models(
    folder: RunDir,
    trials: Sequence[FrozenTrial],
    *,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> None:
    """Train the configurations of `trials` on all normals, as a label budget asks for them.

    Each with the seed of a first final run, like the study's own winner. What is on disk already is
    not trained again, so the same call goes on after a kill.

    Args:
        folder: run directory of their study.
        trials: completed ones.
        cache_dir: folder of what can be computed again.
        listener: told how many there are, how long they may take, and of progress.
        device, workers: as of `hpsearch.study.run.run_study`.

    Raises:
        UserError: the data is gone or another, or another process writes the study.
        StudyError: a training failed.
    """
    plan = plan_workers(device, workers)
    seconds = estimated_seconds(trials, plan.count)
    listener.note(
        f"final models missing: {len(trials)}; training them takes about {seconds:.0f} s, "
        "as the folds took; --no-train goes without"
    )
    inputs = load_inputs(
        folder.spec(),
        cache_dir=cache_dir,
        workers=plan.count * plan.threads,
        listener=listener,
        folder=folder,
    )
    tasks = [
        inputs.final_task(trial.params, run=0, steps=mean_best_step(trial)) for trial in trials
    ]
    with at_work(inputs, folder, plan, cache_dir=cache_dir) as engine:
        what = "training final models"
        require_results(run_tasks(tasks, engine, listener, what), tasks, what)


def estimated_seconds(trials: Sequence[FrozenTrial], workers: int) -> float:
    """How long their final trainings may take: as long as a fold of each, side by side."""
    folds = [facts.seconds / len(facts.tasks) for facts in map(facts_of, trials)]
    return max(sum(folds) / workers, *folds) if folds else 0.0
