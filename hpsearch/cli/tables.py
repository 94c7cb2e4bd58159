"""`hpsearch reproduce table1 | table2 | table3 | table5`: ours beside the paper's."""

import json as json_format
from collections.abc import Sequence
from dataclasses import replace

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import data_name
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.run import default_study
from hpsearch.cli.screen import say
from hpsearch.cli.table_print import print_plan
from hpsearch.config.spec import read_study
from hpsearch.errors import SpecError
from hpsearch.io.cache import cache_dir
from hpsearch.paper.contents import (
    PaperTable,
    Part,
    TableData,
    TableStudy,
    table_parts,
    table_study,
)
from hpsearch.paper.numbers import load_paper_numbers
from hpsearch.paper.published import published_study


def reproduce_table(table: PaperTable, asked: Reproduction) -> bool:
    """Run, print and store the table, or print its plan; False where a study failed.

    A data set whose images are not there is no failure: its lines say so.
    """
    if asked.settings["dataset"].get("root") and not asked.named:
        raise SpecError(f"--root: is of one data set of {table.name}; name it with --dataset")
    names = [asked.dataset] if asked.named else list(table.datasets)
    parts = table_parts(table, names, asked.classes)
    if asked.published:  # of what the labelled anomalies chose
        table = replace(table, criteria=("weak",), published=True)
    studies = _studies(table, asked, parts)
    if asked.plan:
        print_plan(table.name, studies, asked)
        return True
    return _run(table, asked, parts, studies)


def _studies(table: PaperTable, asked: Reproduction, parts: Sequence[Part]) -> list[TableStudy]:
    """The study of each part, at the scale that was asked for."""
    options = dict(asked.settings)
    if not asked.named:  # then each part names its own
        options["dataset"] = {}
    of_part = published_study if asked.published else table_study
    studies = []
    for part in parts:
        study = read_study(default_study(part.dataset))
        data = TableData(part.dataset, data_name(part.dataset), study)
        studies.append(of_part(table, part, data, options, prefix=asked.prefix))
    if asked.scale is None:
        return studies
    from hpsearch.study.scale import scaled

    return [replace(study, spec=scaled(study.spec, asked.scale)) for study in studies]


def _run(
    table: PaperTable,
    asked: Reproduction,
    parts: Sequence[Part],
    studies: Sequence[TableStudy],
) -> bool:
    # These import torch, which takes seconds.
    from hpsearch.cli.table_print import print_table
    from hpsearch.paper.departures import departures
    from hpsearch.paper.lines import table_lines
    from hpsearch.paper.records import line_record, write_table
    from hpsearch.paper.running import run_studies

    with listener_for(json=asked.json) as listener:
        outcomes = run_studies(
            studies,
            runs=asked.runs,
            cache_dir=cache_dir(),
            listener=listener,
            device=asked.device,
            workers=asked.workers,
        )
    lines = table_lines(table, parts, outcomes, load_paper_numbers())
    said = departures(outcomes, asked.settings, scale=asked.scale)
    path = asked.runs / asked.prefix / f"{table.name}.csv"
    write_table(path, table, lines, runs=asked.runs)
    if asked.json:
        records = [line_record(table, line, runs=asked.runs) for line in lines]
        whole = {
            "table": table.name,
            "published": asked.published,
            "scale": asked.scale or 1.0,
            "departures": said,
        }
        folders = {"csv": str(path.absolute()), "runs": str(asked.runs.absolute())}
        print(json_format.dumps(whole | {"lines": records} | folders))
    else:
        print_table(table, lines, outcomes, said)
        say(f"table: {path}")
    return not any(outcome.failure for outcome in outcomes)
