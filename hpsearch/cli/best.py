"""`hpsearch best`: the winner of a study and its test figure."""

import json as json_format

from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunArgument, RunsOption
from hpsearch.cli.summary import print_summary, summary_json
from hpsearch.final_store import read_winner
from hpsearch.storage import load_study
from hpsearch.study_dir import find_study


def best(
    run: RunArgument = None, runs: RunsOption = DEFAULT_RUNS, json: JsonOption = False
) -> None:
    """Show the winner of a study: configuration, validation value, test AUC and interval."""
    folder = find_study(run, runs)
    result = read_winner(folder)
    if json:
        facts = summary_json(folder, result, load_study(folder.path))
        print(json_format.dumps(facts, indent=1))
    else:
        print_summary(folder, result, json=False)
