"""Animation of a figure: the paths on its contours grow from their starts, all of them at the same pace."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError
from ..plot import PATH, PATH_END, path_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAMES = 48
SECONDS = 6.0


def gif(figure: Figure, frames: int = FRAMES) -> bytes:
    """The figure as an animated GIF, in which every path that `plot.surface` drew grows to its end.

    The k-th of K frames shows the share (k/K)² of every path's points: the first updates are the longest.

    Raises:
        ArgumentError: the figure has no path.
    """
    from PIL import Image

    lines, ends = path_lines(figure, PATH), path_lines(figure, PATH_END)
    tracks = [np.column_stack(line.get_data()) for line in lines]
    if not tracks:
        raise ArgumentError("`path`: this figure has no paths that could be animated; write a .png, .svg or .pdf file")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # every frame keeps the first one's layout
    images = []
    for k in range(1, frames + 1):
        for i, track in enumerate(tracks):
            reached = 1 + round((len(track) - 1) * (k / frames) ** 2)
            lines[i].set_data(track[:reached, 0], track[:reached, 1])
            ends[i].set_data(track[reached - 1 : reached, 0], track[reached - 1 : reached, 1])
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=80)
        images.append(Image.open(stream).convert("P", palette=Image.Palette.ADAPTIVE))
    stream = io.BytesIO()
    pause = round(1000 * SECONDS / frames)
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[pause] * (frames - 1) + [2000],
        loop=0,
    )
    return stream.getvalue()
