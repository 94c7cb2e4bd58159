"""Options that several commands share, and how they become settings of a study."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsearch.config.space import PREPROCESSING, PREPROCESSING_AXES
from hpsearch.config.spec import AUTO, AxisValue
from hpsearch.datasets.registry import NAMES
from hpsearch.errors import SpecError

RunsOption = Annotated[
    Path,
    typer.Option(
        "--runs", envvar="HPSEARCH_RUNS", help="Folder of run directories.", show_default=True
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(help="A run directory or a study name; the latest where left out."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="A name, a CSV manifest, or a folder in MVTec AD layout or of classes."
    ),
]
RootOption = Annotated[
    Path | None, typer.Option("--root", help="Folder of the images, where it is not the default.")
]
NormalClassOption = Annotated[
    str | None,
    typer.Option(
        "--normal-class", help="The normal class of digits, cifar10, svhn or a folder of classes."
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Values that become black and white in images of more than 8 bits, e.g. 0,4095; "
        "or dicom, for those that each file names.",
    ),
]
MultiLabelOption = Annotated[
    str | None,
    typer.Option(
        "--multi-label",
        help="X-rays of several findings: pure sets them aside, first counts the first.",
    ),
]
LinksOption = Annotated[
    str | None,
    typer.Option(
        "--links",
        help="Files of a manifest that are links to files outside of its folder: follow (the "
        "default, which is told) or refuse.",
    ),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", help="clean: folds by group; official: those of --folds."),
]
FoldsOption = Annotated[
    Path | None, typer.Option("--folds", help="Folder of published fold files: 0, 1, 2, ...")
]
AllowLeakOption = Annotated[
    bool | None,
    typer.Option("--allow-leak", help="Go on with fold files that score what they train on."),
]
SplitGroupsOption = Annotated[
    bool | None,
    typer.Option(
        "--split-groups",
        help="Deal a group that is larger than a fold's share by image, and train beside labelled "
        "anomalies: groups are then both trained on and scored.",
    ),
]

DEFAULT_RUNS = Path("runs")


def parse_axes(
    axes: Sequence[str], detector: str, study: Mapping[str, Any] | None = None
) -> dict[str, dict[str, list[AxisValue]]]:
    """`NAME=V1,V2` options as the `space` section of a study.

    Where the study has several detectors, `DETECTOR.NAME=V1,V2` says whose axis it is; without a
    detector it is an axis of preprocessing, of all of them, those too for which the study names
    others.

    Args:
        axes: the options.
        detector: as the study names it.
        study: the study's own mapping.

    Raises:
        SpecError: an option of another form.
    """
    space: dict[str, dict[str, list[AxisValue]]] = {}
    # Those of one detector last, for they go before those of all.
    for text in sorted(axes, key=lambda one: "." in one.partition("=")[0]):
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise SpecError(f"--axis {text!r}: write NAME=VALUE,VALUE, e.g. latent_dim=4,16")
        choices = [_value(part) for part in values.split(",")]
        section, dot, name = name.rpartition(".")
        if not dot:
            section = PREPROCESSING if name in PREPROCESSING_AXES else detector
            if section == AUTO or "," in section:
                raise SpecError(
                    f"--axis {text!r}: say of which detector, e.g. patch.{name}={values}"
                )
        sections = [section]
        if section == PREPROCESSING:
            of_study = (study or {}).get("space", {})
            sections += [other for other, own in of_study.items() if name in own]
        for section in sections:
            space.setdefault(section, {})[name] = choices
    return space


def dataset_setting(name: str | None) -> str | None:
    """A file or folder by its absolute path, so that the study means the same from anywhere."""
    if name is None or name in NAMES or not Path(name).exists():
        return name
    return absolute(Path(name))


def data_name(dataset: str) -> str:
    """A short name of a data set, its own or after its file or folder, for a run directory."""
    if dataset in NAMES:
        return dataset
    path = Path(dataset).absolute()
    return file_name(path.parent.name if path.stem == "manifest" else path.stem) or "data"


def file_name(text: str) -> str:
    """A user's text as a part of a file's name; empty where nothing of it can be."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")


def absolute(path: Path) -> str:
    """A path that means the same from any folder, as text."""
    return os.path.abspath(path.expanduser())


def _value(text: str) -> AxisValue:
    words: dict[str, AxisValue] = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
