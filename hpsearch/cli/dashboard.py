"""`hpsearch dashboard`: Optuna's dashboard on a study, for one browser of this machine."""

import webbrowser
from typing import Annotated

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DEFAULT_RUNS, RunArgument, RunsOption
from hpsearch.cli.screen import say
from hpsearch.io.text import printable
from hpsearch.storage.run_dir import find_study


def dashboard(
    run: RunArgument = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")
    ] = 8080,
    allow_write: Annotated[
        bool,
        typer.Option(
            "--allow-write", help="Let notes and files be added; the study must not be running."
        ),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")
    ] = False,
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Show a study in Optuna's dashboard, also while it is running. Ctrl-C ends it.

    It answers this machine alone, and there the one browser that opens the printed link.
    """
    folder = find_study(run, runs)
    # Optuna's dashboard and scikit-learn take seconds to import.
    from hpsearch.reports.dashboard.publish import publish_unless_running
    from hpsearch.reports.dashboard.server import open_dashboard, require_installed

    require_installed()
    with listener_for(json=False) as listener:
        remarks = publish_unless_running(folder, progress=listener.progress)
    for remark in remarks:
        say(remark)
    with open_dashboard(folder, port=port, allow_write=allow_write) as board:
        print(f"{printable(folder.path.name)}: {board.url}", flush=True)  # with the link's secret
        say("the link lets one browser in, once; Ctrl-C ends the dashboard")
        if browser:
            webbrowser.open(board.url)
        try:
            board.serve()
        except KeyboardInterrupt:
            say("the dashboard has ended")
