"""The report of a study, put together from its parts."""

from collections.abc import Sequence

from hpsearch.reports.answer import answer_section, question_section, warnings_of
from hpsearch.reports.choices import choices_section
from hpsearch.reports.document import Document, Section
from hpsearch.reports.example_pictures import examples_section
from hpsearch.reports.examples.store import Example
from hpsearch.reports.heat_table import heat, heat_axes, heat_block
from hpsearch.reports.history import history_figure, search_history
from hpsearch.reports.importance import axis_importance, importance_block
from hpsearch.reports.label_budget import budget_block, read_budget
from hpsearch.reports.learning import learning_block, learning_curves
from hpsearch.reports.parallel import parallel_block, parallel_lines
from hpsearch.reports.provenance import provenance_section
from hpsearch.reports.roc import roc_block, winner_curves
from hpsearch.reports.score_histogram import histogram, histogram_block, scores_by_type, type_table
from hpsearch.reports.study_data import StudyData


def study_report(
    data: StudyData, examples: Sequence[Example] = (), *, missing: str | None = None
) -> Document:
    """Everything that a study has to say.

    Args:
        data: of a finished study.
        examples: pictures that lie with its final model.
        missing: why there are none.

    Raises:
        UserError: numbers of a label budget that lie with the study are damaged.
    """
    threshold = data.result.flagging.threshold.threshold if data.result.flagging else None
    pictures = data.folder.examples(data.result.trial)
    return Document(
        f"Study {data.folder.path.name}",
        warnings_of(data),
        (
            answer_section(data),
            question_section(data),
            _test_section(data, threshold),
            examples_section(pictures, examples, threshold=threshold, missing=missing),
            choices_section(data),
            _search_section(data),
            Section("learning", "How it learned", (learning_block(learning_curves(data)),)),
            Section("labels", "More labels", (budget_block(read_budget(data.folder.report)),)),
            provenance_section(data),
        ),
    )


def _test_section(data: StudyData, threshold: float | None) -> Section:
    rows = scores_by_type(data)
    blocks = (
        roc_block(winner_curves(data)),
        histogram_block(histogram(rows, threshold), rows),
        type_table(rows),
    )
    return Section("test", "How well it finds them", blocks)


def _search_section(data: StudyData) -> Section:
    importance = axis_importance(data)
    found = None
    if data.varied:
        ranking = tuple(importance.shares) if importance else ()
        found = heat(data, *heat_axes(data.varied, ranking))
    blocks = (
        history_figure(search_history(data)),
        heat_block(found),
        importance_block(importance),
        parallel_block(parallel_lines(data)),
    )
    return Section("search", "The search", blocks)
