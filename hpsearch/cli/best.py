"""`hpsearch best`: the winner of a study and its test figure."""

import json as json_format

from optuna.trial import TrialState

from hpsearch.choices import winner
from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunArgument, RunsOption
from hpsearch.cli.summary import print_summary, summary_json
from hpsearch.errors import StudyError
from hpsearch.final import read_final
from hpsearch.storage import load_study
from hpsearch.study_dir import find_study


def best(
    run: RunArgument = None, runs: RunsOption = DEFAULT_RUNS, json: JsonOption = False
) -> None:
    """Show the winner of a study: configuration, validation value, test AUC and interval."""
    folder = find_study(run, runs)
    study = load_study(folder.path)
    chosen = winner(study, folder.spec().search.criterion)
    result = read_final(folder.final, chosen.number)
    if result is None:
        done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        raise StudyError(
            f"study {folder.path.name}: {done} trials are complete and the winner is not trained "
            "yet; run the same `hpsearch run` again to go on"
        )
    if json:
        print(json_format.dumps(summary_json(folder, result, study), indent=1))
    else:
        print_summary(folder, result, json=False)
