"""A figure as one HTML file that needs nothing else, not even a network."""

from pathlib import Path

import plotly.graph_objects as go

from hpsearch.files import write_text_atomic


def write_page(path: Path, figure: go.Figure) -> None:
    """Write the figure with the plotting library in the same file, whole or not at all."""
    # A fixed id, for plotly's random one would make every file differ.
    html = figure.to_html(include_plotlyjs=True, div_id="figure", config={"displaylogo": False})
    write_text_atomic(path, html)
