"""`hpsearch export`: a trained model as one graph for other runtimes."""

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunsOption
from hpsearch.cli.run_options import WeightsOption
from hpsearch.cli.screen import say
from hpsearch.model.bundle import find_model
from hpsearch.model.export.format_names import checked_format
from hpsearch.model.predict.inputs import find_images


def export(
    model: Annotated[
        str, typer.Argument(help="A model's folder, a run directory, or the name of a study.")
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images to check the graph on, the first ten; drawn where left out."),
    ] = None,
    format: Annotated[str, typer.Option(help="onnx, or torch (torch.export).")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make; beside the model by default.", show_default=False),
    ] = None,
    backbone_weights: WeightsOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Write preprocessing, network, score and threshold as one graph, checked against the model."""
    name = checked_format(format)
    folder = find_model(model, runs)
    files = [image.path for image in find_images(images).images] if images else []
    target = out or folder.with_name(f"{folder.name}-{name}")
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.model.export.export import export as write_graph
    from hpsearch.model.model import load_model

    loaded = load_model(folder, device="cpu", backbone_weights=backbone_weights)
    written = write_graph(loaded, target, name, images=files)
    if json:
        print(json_format.dumps(asdict(written), default=str))
        return
    say(
        f"checked on {written.n_checked} images against predict: largest relative difference "
        f"of a score {written.difference:.1e}"
    )
    before = ", as an earlier run wrote it" if written.was_there else ""
    say(f"graph: {written.folder / written.file}{before}")
