"""`hpsearch report`: a study to look at, as one page or as Markdown."""

import webbrowser
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DEFAULT_RUNS, RunArgument, RunsOption
from hpsearch.cli.run_options import DeviceOption
from hpsearch.cli.screen import say
from hpsearch.errors import StudyError, UserError
from hpsearch.io.cache import cache_dir
from hpsearch.io.text import printable
from hpsearch.storage.database import sole_writer_of
from hpsearch.storage.run_dir import find_study

if TYPE_CHECKING:
    from hpsearch.io.processes import Progress
    from hpsearch.reports.examples.store import Example
    from hpsearch.reports.study_data import StudyData


def report(
    run: RunArgument = None,
    format: Annotated[
        Literal["html", "md"],
        typer.Option(help="html: one page that needs no network; md: Markdown and PNG figures."),
    ] = "html",
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in a browser.")
    ] = False,
    device: DeviceOption = "auto",
    runs: RunsOption = DEFAULT_RUNS,
) -> None:
    """Write what a finished study says to its folder `report/`, and print where.

    Nothing is trained. The final model runs once, for the maps of a few test images.
    """
    folder = find_study(run, runs)
    # Plotly and scikit-learn take seconds to import.
    from hpsearch.reports.render import require_matplotlib, write_html, write_markdown
    from hpsearch.reports.study_data import read_study_data
    from hpsearch.reports.study_report import study_report

    if format == "md":
        require_matplotlib()
    with listener_for(json=False) as listener:
        data = read_study_data(folder, progress=listener.progress)
        examples, missing = _examples(data, device, listener.progress)
    document = study_report(data, examples, missing=missing)
    path = folder.report / f"report.{format}"
    try:
        (write_html if format == "html" else write_markdown)(path, document)
    except OSError as error:
        what = f"cannot be written ({printable(error.strerror or error)})"
        raise StudyError(f"{printable(path)}: {what}; mend that and run it again") from error
    if missing is not None:
        say(f"without pictures: {missing}")
    say(path)
    if browser:
        webbrowser.open(path.absolute().as_uri())


def _examples(
    data: "StudyData", device: str, progress: "Progress"
) -> tuple[tuple["Example", ...], str | None]:
    """Pictures of the final model, or why there are none: a report does without."""
    from hpsearch.reports.examples.make import key_of, make_examples
    from hpsearch.reports.examples.store import read_examples

    try:
        there = data.folder.examples(data.result.name)
        known = read_examples(there, key_of(data.result))
        if known is not None:
            return known, None
        with sole_writer_of(data.folder.path):
            made = make_examples(
                data.folder,
                data.result,
                data.roles,
                cache_dir=cache_dir(),
                device=device,
                progress=progress,
            )
        return made, None
    except UserError as error:
        return (), str(error)
    except PermissionError as error:
        return (), f"{error.filename} may only be read"
