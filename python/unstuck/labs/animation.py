"""Animation of a figure: the paths on its contours grow from their starts to their ends."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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
    lines, ends = path_lines(figure, PATH), path_lines(figure, PATH_END)
    if not lines:
        raise ArgumentError("`path`: this figure has no paths that could be animated; write a .png, .svg or .pdf file")
    for line in (*lines, *ends):
        line.set_animated(True)
    try:
        images = list(_frames(figure, lines, ends, frames))
    finally:
        for line in (*lines, *ends):
            line.set_animated(False)
    stream, pause = io.BytesIO(), round(1000 * SECONDS / frames)
    pauses = [pause] * (frames - 1) + [2000]
    images[0].save(stream, format="GIF", save_all=True, append_images=images[1:], duration=pauses, loop=0)
    return stream.getvalue()


def _frames(figure: Figure, lines: list[Any], ends: list[Any], frames: int) -> Iterator[Any]:
    """Images of the figure; the contours are drawn once, the paths onto a copy for every frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(80)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    tracks = [np.column_stack(line.get_data()) for line in lines]
    for k in range(1, frames + 1):
        canvas.restore_region(background)
        for line, end, track in zip(lines, ends, tracks, strict=True):
            reached = 1 + round((len(track) - 1) * (k / frames) ** 2)
            line.set_data(track[:reached, 0], track[:reached, 1])
            end.set_data(track[reached - 1 : reached, 0], track[reached - 1 : reached, 1])
            line.axes.draw_artist(line)
            end.axes.draw_artist(end)
        image = Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB")
        yield image.convert("P", palette=Image.Palette.ADAPTIVE)
