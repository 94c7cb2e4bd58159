import json

import optuna
import pytest
from optuna.trial import create_trial

from hpsearch.storage.trials import TrialFacts, facts_of, trials_of

FACTS = TrialFacts(
    config="0123",
    labelled="4567",
    retry_of=(2, 5),
    criteria={"weak": 1 / 3, "unsupervised": -0.1, "synthetic": 0.5},
    fold_values={"weak": [0.1, 0.2], "unsupervised": [-1.0, -2.0], "synthetic": [0.5, 0.5]},
    ended=True,
    tasks=("a", "b"),
    best_steps=(3, 4),
    seconds=1.5,
    devices=("cpu",),
    failure="non_finite",
    failure_message="NaN",
    failure_traceback=("line 1",),
)
ON_DISK = {
    "config_digest": "0123",
    "labelled": "4567",
    "retry_of": [2, 5],
    "weak": 1 / 3,
    "unsupervised": -0.1,
    "synthetic": 0.5,
    "fold_values": {"weak": [0.1, 0.2], "unsupervised": [-1.0, -2.0], "synthetic": [0.5, 0.5]},
    "fold_aurocs": [0.1, 0.2],
    "tasks": ["a", "b"],
    "best_steps": [3, 4],
    "seconds": 1.5,
    "devices": ["cpu"],
    "failure": "non_finite",
    "failure_message": "NaN",
    "failure_traceback": ["line 1"],
}
"""The names that studies on disk have."""


def test_facts_keep_their_names_on_disk_and_come_back() -> None:
    study = optuna.create_study()
    trial = study.ask()
    FACTS.write(trial)
    assert trial.user_attrs == json.loads(json.dumps(FACTS.attributes())) == ON_DISK
    assert list(FACTS.attributes()) == list(ON_DISK), "tasks come after what they were scored by"
    assert facts_of(trial) == facts_of(study.trials[0]) == FACTS


@pytest.mark.parametrize("facts", [TrialFacts(), TrialFacts(config="0123"), TrialFacts(ended=True)])
def test_what_is_not_known_is_left_out(facts: TrialFacts) -> None:
    study = optuna.create_study()
    trial = study.ask()
    TrialFacts(labelled="4567").write(trial)
    facts.write(trial)
    assert facts_of(trial) == TrialFacts(facts.config, labelled="4567", ended=facts.ended)


def test_trials_of_an_earlier_version_and_of_others() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(value=0.5, user_attrs={"fold_aurocs": [0.5, 0.6], "tasks": ["a"]}))
    study.add_trial(create_trial(value=0.9))
    earlier, foreign = study.trials
    assert facts_of(earlier).fold_values == {"weak": [0.5, 0.6]}
    assert facts_of(foreign) == TrialFacts()
    by_state = trials_of(study)
    assert ([t.number for t in by_state.completed], [t.number for t in by_state.foreign]) == (
        [0],
        [1],
    )
