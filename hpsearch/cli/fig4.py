"""`hpsearch reproduce fig4`: what labelled anomalies buy, on a grid that was searched whole."""

import json as json_format

from hpsearch.cli.label_budget import print_curves, report_json, trainer, write_report
from hpsearch.cli.listeners import listener_for
from hpsearch.cli.reproduction import Reproduction
from hpsearch.cli.run import QUICKSTART, default_study
from hpsearch.cli.screen import say
from hpsearch.cli.table_print import print_plan
from hpsearch.config.spec import DatasetSpec, StudySpec, build_spec, merged, read_study
from hpsearch.evaluation.label_budget.curves import claim
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.evaluation.label_budget.study_curves import study_curves
from hpsearch.io.cache import cache_dir
from hpsearch.paper.contents import TableStudy

NAME = "fig4"
_WHOLE_GRID = {"search": {"sampler": "grid", "n_trials": None, "pruner": "none"}}
_EMBEDDED: str = DatasetSpec.model_fields["name"].default


def fig4(asked: Reproduction) -> bool:
    """Run the study, train the models that its draws choose, and write the figure."""
    from hpsearch.study.scale import scaled

    spec = fig4_spec(asked)
    if asked.scale is not None:
        spec = scaled(spec, asked.scale)
    if asked.plan:
        _plan(spec, asked)
        return True
    from hpsearch.study.run import run_study

    with listener_for(json=asked.json) as listener:
        ran = run_study(
            spec,
            runs=asked.runs,
            cache_dir=cache_dir(),
            listener=listener,
            device=asked.device,
            workers=asked.workers,
        )
        curves = study_curves(
            ran.folder,
            Question(seed=spec.search.seed),
            train=trainer(ran.folder, listener, asked.device, asked.workers),
            progress=listener.progress,
        )
    report = write_report(ran.folder, curves, NAME)
    if asked.json:
        said = report_json(ran.folder, curves, report) | {"claim": claim(curves)}
        print(json_format.dumps({"figure": NAME, "scale": asked.scale or 1.0} | said))
    else:
        print_curves(ran.folder, curves, report)
        say(claim(curves))
    return True


def fig4_spec(asked: Reproduction) -> StudySpec:
    """The study of the data set with every point of its grid; the quickstart's where embedded."""
    study = QUICKSTART if asked.dataset == _EMBEDDED else default_study(asked.dataset)
    settings = merged(merged(read_study(study), asked.settings), _WHOLE_GRID)
    return build_spec(settings, {"study_name": asked.prefix})


def _plan(spec: StudySpec, asked: Reproduction) -> None:
    print_plan(NAME, [TableStudy(spec, (spec.search.criterion,), NAME)], asked)
    if not asked.json:
        say("and one final model each of the configurations that draws choose, at most all")
