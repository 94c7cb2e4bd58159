"""`hpsearch predict`: scores of new images by a trained model."""

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpsearch.cli.listeners import listener_for
from hpsearch.cli.options import DEFAULT_RUNS, JsonOption, RunsOption
from hpsearch.cli.run_options import DeviceOption, WeightsOption
from hpsearch.cli.screen import say
from hpsearch.datasets.reading import ShownCounts
from hpsearch.model.bundle import find_model
from hpsearch.model.predict.inputs import find_images
from hpsearch.model.predict.tables import check_table

if TYPE_CHECKING:
    from hpsearch.model.predict.predict import Prediction


def predict(
    model: Annotated[
        str, typer.Argument(help="A model's folder, a run directory, or the name of a study.")
    ],
    paths: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, or a CSV with `image_path`.")
    ],
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")],
    maps: Annotated[
        Path | None, typer.Option(help="Folder for a heat map and an overlay of each image.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in memory at a time.")] = 128,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode; half of the cores by default."),
    ] = None,
    device: DeviceOption = "auto",
    backbone_weights: WeightsOption = None,
    runs: RunsOption = DEFAULT_RUNS,
    json: JsonOption = False,
) -> None:
    """Score images: image_id, score, p_value and is_anomaly of each; goes on where it was stopped.

    Images that cannot be read are skipped and listed beside the table; exit code 2 if none can be.
    """
    check_table(out)
    found = find_images(paths)
    folder = find_model(model, runs)
    # Importing torch takes seconds: `--help` and a bad option should not wait for it.
    from hpsearch.model.model import load_model
    from hpsearch.model.predict.predict import predict as score_all

    loaded = load_model(folder, device=device, backbone_weights=backbone_weights)
    with listener_for(json=json) as listener:
        for note in found.notes:
            listener.note(note)
        if maps and loaded.maps_in_words:
            listener.note(loaded.maps_in_words)
        prediction = score_all(
            loaded,
            found.images,
            out,
            maps=maps,
            batch_size=batch_size,
            workers=workers,
            progress=listener.progress,
        )
    if json:
        print(json_format.dumps(asdict(prediction), default=str))
    else:
        _print(prediction, maps)


def _print(prediction: "Prediction", maps: Path | None) -> None:
    if prediction.n_before:
        say(f"{prediction.n_before:,} images were scored before; went on from there")
    say(
        f"{prediction.n_scored:,} images scored, {prediction.images_per_second:.0f} images a second"
    )
    if prediction.n_anomalies is None:
        say("the model holds no calibration: p_value and is_anomaly are empty")
    else:
        say(f"{prediction.n_anomalies:,} are called anomalous")
    if prediction.n_many_frames:
        say(ShownCounts(many_frames=prediction.n_many_frames).lines[0])
    if prediction.unreadable:
        listed = f"listed in {prediction.unreadable}"
        say(f"{prediction.n_unreadable:,} cannot be read and are skipped, {listed}")
    say(f"scores: {prediction.out}")
    if maps:
        say(f"maps:   {maps}")
