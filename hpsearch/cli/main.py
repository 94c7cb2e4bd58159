"""Entry point of `hpsearch`: the commands, and how errors end."""

import signal
import sys
from importlib.metadata import version
from typing import Annotated

import optuna
import typer

from hpsearch.cli.check import check, datasets
from hpsearch.cli.dashboard import dashboard
from hpsearch.cli.export import export
from hpsearch.cli.label_budget import label_budget
from hpsearch.cli.predict import predict
from hpsearch.cli.prepare import prepare_app
from hpsearch.cli.report import report
from hpsearch.cli.reproduce import reproduce
from hpsearch.cli.run import run
from hpsearch.cli.status import best, recover, status
from hpsearch.errors import HpsearchError, NothingCompletedError, UserError
from hpsearch.io.faults import environment_fault
from hpsearch.io.text import printable

FAILURE, USER_MISTAKE, NOTHING_COMPLETED = 1, 2, 3
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

app = typer.Typer(
    name="hpsearch",
    help="Choose an image anomaly detector with many normal images and a few labelled anomalies.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    run,
    reproduce,
    status,
    best,
    label_budget,
    report,
    predict,
    export,
    dashboard,
    datasets,
    check,
    recover,
):
    app.command()(command)
app.add_typer(prepare_app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"hpsearch {version('hpsearch')}")
        raise typer.Exit


@app.callback()
def _common(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run the command line; an expected error is one line on standard error.

    Exit codes: 0 done, 1 failed, 2 a mistake that the user can mend, 3 no configuration was
    completed, 130 and 143 stopped by SIGINT and SIGTERM.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # End as by Ctrl-C: what is open is closed on the way, and workers are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app()
    except NothingCompletedError as error:
        _fail(f"hpsearch: {error}", NOTHING_COMPLETED)
    except UserError as error:
        _fail(f"hpsearch: {error}", USER_MISTAKE)
    except HpsearchError as error:
        _fail(f"hpsearch: {error}", FAILURE)
    except Exception as error:
        fault = environment_fault(error)
        if fault is None:
            raise
        _fail(f"hpsearch: {fault}", USER_MISTAKE)
    except SystemExit as end:
        if end.code in (INTERRUPTED, TERMINATED):  # the first is what typer makes of Ctrl-C
            _fail("hpsearch: stopped; the same command goes on from here", int(end.code))
        raise


def _fail(message: str, code: int) -> None:
    print(printable(message), file=sys.stderr)
    sys.exit(code)
