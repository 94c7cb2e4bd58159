"""`hpsearch recover`: a damaged study made whole again."""

from typing import Annotated

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DEFAULT_RUNS, RunsOption
from hpsearch.io.cache import cache_dir
from hpsearch.storage.run_dir import damaged_study


def recover(
    run: Annotated[str, typer.Argument(help="A run directory, or the name of a study.")],
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Convert the database of an earlier Optuna.")
    ] = False,
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Mend a study's database, task directories and records from what is whole; trains nothing.

    What it replaces lies in the run directory's folder `damaged` afterwards.
    """
    folder = damaged_study(run, runs)
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.study.repair import recover_study

    with listener_for(json=False) as listener:
        recover_study(folder, cache_dir=cache_dir(), listener=listener, upgrade=upgrade)
