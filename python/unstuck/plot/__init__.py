"""Pictures of an error surface: contours with the paths of optimizers, and the loss along lines."""

from .line import interpolation, line
from .surface import ON_WHITE, PATH, PATH_END, path_lines, surface

__all__ = ["ON_WHITE", "PATH", "PATH_END", "interpolation", "line", "path_lines", "surface"]


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
