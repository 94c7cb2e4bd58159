"""What the results depend on, and how long they took."""

from datetime import timedelta

from hpsearch.config.space import statistics_in_words
from hpsearch.io.files import printable
from hpsearch.reports.document import Code, Section, Table
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.trials import facts_of, trials_of


def stage_seconds(data: StudyData) -> tuple[tuple[str, int, float], ...]:
    """Stage, trainings and seconds of training and scoring, of the trials and the winner."""
    ended = [facts_of(trial) for trial in trials_of(data.study).ended]
    searched = sum(len(facts.tasks) for facts in ended)
    return (
        ("search", searched, sum(facts.seconds for facts in ended)),
        ("winner, on all normals", len(data.finals), sum(run.seconds for run in data.finals)),
    )


def provenance_section(data: StudyData) -> Section:
    """Data, weights, versions, device, times and the whole spec."""
    facts = data.environment
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    rows = [
        ("study", printable(data.folder.path.absolute())),
        ("model", printable(data.folder.model(data.result.trial).absolute())),
        ("data", f"{facts['dataset']}, {facts['n_images']} images"),
        ("data fingerprint", facts["data_fingerprint"]),
        ("fold files", facts.get("folds_digest") or "none: drawn by the seed"),
        ("backbone", f"{facts['backbone']}, {facts['backbone_source']}"),
        ("backbone weights", facts["backbone_digest"]),
        *_statistics(data),
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


def _statistics(data: StudyData) -> list[tuple[str, str]]:
    """A row of the channel statistics; none where there are none, or the study is older."""
    natural = data.environment.get("statistics_source", "")
    said = statistics_in_words(data.result.params, natural)
    return [] if said is None else [("channel statistics", printable(said))]
