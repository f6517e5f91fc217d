"""What figures share: a style, bands over seeds, tiles of images, PNG bytes. Figures are drawn without a display."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shared.tree import Array

LETTERS_AN_INCH = 16  # of the caption's 8 points
STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titlesize": 10,
}


def panels(n: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with n panels side by side in the common style."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.5 * n, 3.6), layout="constrained")
        return figure, list(figure.subplots(1, n, squeeze=False)[0])


def band(axes: Axes, rows: pd.DataFrame, x: str, y: str, **style: Any) -> None:
    """The median of y over seeds against x as a line, its range over seeds as a band of the same colour."""
    table = rows.groupby(x)[y].agg(["median", "min", "max"])
    (line,) = axes.plot(table.index, table["median"], **style)
    axes.fill_between(table.index, table["min"], table["max"], color=line.get_color(), alpha=0.2, linewidth=0)


def tiles(images: Array, side: int, pad: int = 1) -> Array:
    """Images (rows, columns, side * side) as one picture, ``pad`` white pixels apart."""
    rows, columns = images.shape[:2]
    picture = np.full((rows * (side + pad) - pad, columns * (side + pad) - pad), 255, np.uint8)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (side + pad), j * (side + pad)
            picture[top : top + side, left : left + side] = 255 - images[i, j].reshape(side, side)
    return picture


def show(axes: Axes, picture: Array, title: str) -> None:
    """A grey picture without axes."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def caption(figure: Figure, lines: Sequence[str]) -> None:
    """Data, scale, seeds and deviations in small print under the figure, wrapped to its width."""
    width = int(figure.get_figwidth() * LETTERS_AN_INCH)
    wrapped = [part for line in lines for part in textwrap.wrap(line, width)]
    figure.supxlabel("\n".join(wrapped), fontsize=8, color="0.3", x=0.01, ha="left")


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure (no dates in it)."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": f"matplotlib {matplotlib.__version__}"})
    return buffer.getvalue()
