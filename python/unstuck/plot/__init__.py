"""Pictures of an error surface: contours with the paths of optimizers, and the loss along lines."""

from .line import interpolation, line
from .surface import PATH, PATH_END, path_lines, surface

__all__ = ["PATH", "PATH_END", "interpolation", "line", "path_lines", "surface"]
