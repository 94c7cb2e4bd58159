"""The report of a study, put together from its sections."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from hpsearch.config.space import statistics_in_words
from hpsearch.io.text import printable
from hpsearch.reports.answer_sections import (
    answer_section,
    choices_section,
    question_section,
    report_warnings,
)
from hpsearch.reports.budget_figure import budget_block, read_budget
from hpsearch.reports.document import Code, Document, Picture, PictureRow, Section, Table, Text
from hpsearch.reports.examples.store import Example, Kind
from hpsearch.reports.heat_table import heat, heat_axes, heat_block
from hpsearch.reports.score_figures import (
    histogram,
    histogram_block,
    roc_block,
    scores_by_type,
    type_table,
    winner_curves,
)
from hpsearch.reports.search_figures import (
    axis_importance,
    history_figure,
    importance_block,
    learning_block,
    learning_curves,
    parallel_block,
    parallel_lines,
    search_history,
)
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.trials import facts_of, trials_of

_CAPTIONS: Mapping[Kind, str] = {
    "most_normal": "Most normal: the normal images that score lowest",
    "most_anomalous": "Most anomalous: the anomalies that score highest",
    "false_alarm": "Most wrong: the normal images that score highest",
    "miss": "Most wrong: the anomalies that score lowest",
}


def study_report(
    data: StudyData, examples: Sequence[Example] = (), *, missing: str | None = None
) -> Document:
    """Everything that a study has to say: a figure is in the report once it is in a section here.

    Args:
        data: of a finished study.
        examples: pictures that lie with its final model.
        missing: why there are none.

    Raises:
        UserError: numbers of a label budget that lie with the study are damaged.
    """
    threshold = data.result.flagging.threshold.threshold if data.result.flagging else None
    types = scores_by_type(data)
    test = (
        roc_block(winner_curves(data)),
        histogram_block(histogram(types, threshold), types),
        type_table(types),
    )
    importance = axis_importance(data)
    ranking = tuple(importance.shares) if importance else ()
    search = (
        history_figure(search_history(data)),
        heat_block(heat(data, *heat_axes(data.varied, ranking)) if data.varied else None),
        importance_block(importance),
        parallel_block(parallel_lines(data)),
    )
    pictures = data.folder.examples(data.result.name)
    learning = learning_block(learning_curves(data))
    budget = budget_block(read_budget(data.folder.report))
    return Document(
        f"Study {data.folder.path.name}",
        report_warnings(data),
        (
            answer_section(data),
            question_section(data),
            Section("test", "How well it finds them", test),
            examples_section(pictures, examples, threshold=threshold, missing=missing),
            choices_section(data),
            Section("search", "The search", search),
            Section("learning", "How it learned", (learning,)),
            Section("labels", "More labels", (budget,)),
            provenance_section(data),
        ),
    )


def examples_section(
    folder: Path,
    examples: Sequence[Example],
    *,
    threshold: float | None,
    missing: str | None,
) -> Section:
    """The clearest and the most wrong test images (the paper's Fig. 5), a row of pictures a kind.

    Args:
        folder: of the pictures.
        examples: what is in it.
        threshold: above it an image is flagged, None where there is none.
        missing: why there are no pictures.
    """
    if missing is not None:
        said = f"There are no pictures: {printable(missing)}."
    elif any(example.overlay for example in examples):
        scale = "the highest value" if threshold is None else "twice the threshold"
        said = (
            "Each image as the detector sees it, and with its map over it in grey: the lighter "
            f"a place, the more it adds to the score; the lightest is {scale}."
        )
    else:
        said = (
            "Each image as the detector sees it. This detector gives one score an image and "
            "no maps."
        )
    blocks: list[Text | PictureRow] = [Text(said)]
    for kind, caption in _CAPTIONS.items():
        pictures = tuple(
            _picture(folder, example, threshold) for example in examples if example.kind == kind
        )
        if pictures:
            blocks.append(PictureRow(caption, pictures))
    return Section("examples", "Test images", tuple(blocks))


def _picture(folder: Path, example: Example, threshold: float | None) -> Picture:
    what = printable(f"{example.image_id}"), printable(example.anomaly_type or "normal")
    flagged = ""
    if threshold is not None:
        flagged = ", flagged" if example.score > threshold else ", not flagged"
    return Picture(
        folder / example.image,
        folder / example.overlay if example.overlay else None,
        f"{what[0]} ({what[1]}): score {example.score:.4g}{flagged}",
        f"Test image {what[0]}, {what[1]}",
    )


def stage_seconds(data: StudyData) -> tuple[tuple[str, int, float], ...]:
    """Stage, trainings and seconds of training and scoring, of the trials and the winner."""
    ended = [facts_of(trial) for trial in trials_of(data.study).ended]
    searched = sum(len(facts.tasks) for facts in ended)
    return (
        ("search", searched, sum(facts.seconds for facts in ended)),
        ("winner, on all normals", len(data.finals), sum(run.seconds for run in data.finals)),
    )


def provenance_section(data: StudyData) -> Section:
    """What the results depend on, and how long they took."""
    facts = data.environment
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    # None where there are none, or the study is older.
    statistics = statistics_in_words(data.result.params, facts.get("statistics_source", ""))
    rows = [
        ("study", printable(data.folder.path.absolute())),
        ("model", printable(data.folder.model(data.result.name).absolute())),
        ("data", f"{facts['dataset']}, {facts['n_images']} images"),
        ("data fingerprint", facts["data_fingerprint"]),
        ("fold files", facts.get("folds_digest") or "none: drawn by the seed"),
        ("backbone", f"{facts['backbone']}, {facts['backbone_source']}"),
        ("backbone weights", facts["backbone_digest"]),
        *([] if statistics is None else [("channel statistics", printable(statistics))]),
        ("device", ", ".join(sorted({facts["device"], *(run.device for run in data.finals)}))),
        ("peak memory", f"{max(run.peak_memory_mb for run in data.finals):.0f} MB (winner)"),
        ("versions", f"Python {facts['python']}, {versions}"),
        ("system", facts["platform"]),
        ("final trainings", ", ".join(data.result.tasks)),
    ]
    times = tuple(
        (stage, str(count), f"{seconds:.1f}", str(timedelta(seconds=round(seconds))))
        for stage, count, seconds in stage_seconds(data)
    )
    caption = "Training and scoring, summed over trainings, some of which may have run side by side"
    return Section(
        "provenance",
        "Where this comes from",
        (
            Table("What the results depend on", ("what", "value"), tuple(rows)),
            Table(caption, ("stage", "trainings", "seconds", "h:mm:ss"), times),
            Code("The whole study (spec.yaml)", data.folder.spec_file.read_text(encoding="utf-8")),
        ),
    )
