"""Contour pictures of surfaces: coordinates, paths, planes, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import unstuck as us
from unstuck.errors import ArgumentError, ArgumentTypeError

pytest.importorskip("matplotlib", reason="needs matplotlib")


def saddle(**more) -> us.FunctionLandscape:
    return us.FunctionLandscape(
        lambda w: (1 - w[0] * w[1]) ** 2,
        lambda w: np.array([-2 * w[1] * (1 - w[0] * w[1]), -2 * w[0] * (1 - w[0] * w[1])]),
        n=2,
        **more,
    )


def bowl(n: int, seen: list | None = None, **more) -> us.FunctionLandscape:
    scale = np.arange(1.0, n + 1)

    def loss(w):
        if seen is not None:
            seen.append(w.copy())
        return float(scale @ w**2)

    return us.FunctionLandscape(loss, lambda w: 2 * scale * w, n=n, **more)


def test_two_parameters_are_drawn_in_their_own_coordinates():
    path = np.array([[0.5, 0.1], [0.7, 0.4], [1.0, 0.9]])
    ax = us.plot.surface(saddle(), paths=[path, SimpleNamespace(thetas=path + 0.1)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("θ₁", "θ₂")
    lines = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 3]
    assert np.array_equal(lines[0], path)
    assert np.allclose(lines[1], path + 0.1)
    assert ax.get_xlim()[0] < 0.5 < 1.1 < ax.get_xlim()[1]
    assert len(ax.collections) >= 2


def test_an_existing_axes_is_used_and_a_new_figure_has_no_window(tmp_path):
    from matplotlib.figure import Figure

    given = Figure().add_subplot()
    assert us.plot.surface(saddle(), ax=given, resolution=5) is given
    ax = us.plot.surface(saddle(), resolution=5, extent=(-1, 1, -2, 2))
    assert ax.get_ylim() == (-2, 2)
    ax.figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_no_gui_backend_is_loaded():
    code = (
        "import sys, numpy as np, unstuck as us\n"
        "us.plot.surface(us.FunctionLandscape(lambda w: w @ w, lambda w: 2 * w, n=2), resolution=4)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_plane_through_theta():
    seen: list = []
    theta, plane = np.array([1.0, 2, 3, 4]), np.array([[1.0, 0, 0, 0], [0, 0, 2, 0]])
    us.plot.surface(bowl(4, seen), directions=plane, theta=theta, resolution=3)
    points = np.array(seen)
    assert np.array_equal(np.unique(points[:, 0]), [0, 1, 2])
    assert np.array_equal(np.unique(points[:, 2]), [1, 3, 5])
    assert (points[:, [1, 3]] == [2, 4]).all()


def test_paths_span_the_plane_when_no_directions_are_given():
    t = np.linspace(0, 1, 20)[:, None]
    corner = np.array([[0, 3.0, 0, 0, 0]]) * t + np.array([[0, 0, 0, 1.0, 0]]) * t**2
    ax = us.plot.surface(bowl(5), paths=[corner], resolution=4)
    drawn = next(line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 20)
    # the path lies in that plane: its lengths are kept
    assert np.allclose(np.linalg.norm(drawn - drawn[-1], axis=1), np.linalg.norm(corner - corner[-1], axis=1))


def test_random_directions_are_scaled_block_by_block():
    blocks = [("a", slice(0, 2), (2,)), ("b", slice(2, 6), (4,))]
    theta = np.array([3.0, 4, 0, 0, 0, 0])
    seen: list = []
    us.plot.surface(bowl(6, seen, blocks=blocks, theta=theta), resolution=2, seed=1)
    first, second = seen[0] - theta, seen[1] - theta
    along = (second - first) / 2
    assert np.linalg.norm(along[:2]) == pytest.approx(5.0)
    assert np.linalg.norm(along[2:]) == pytest.approx(1.0)


@pytest.mark.parametrize("height", [lambda w: 3.0, lambda w: np.nan if w[0] > 0 else w @ w])
def test_flat_and_partly_undefined_surfaces(height):
    land = us.FunctionLandscape(height, lambda w: 2 * w, n=2)
    assert us.plot.surface(land, resolution=8).collections
    assert us.plot.surface(land, paths=[np.zeros((1, 2))], resolution=8).collections


def test_what_cannot_be_drawn_is_refused():
    line = us.FunctionLandscape(lambda w: w @ w, lambda w: 2 * w, n=1)
    nowhere = us.FunctionLandscape(lambda w: np.nan, lambda w: 2 * w, n=2)
    cases = [
        (line, {}, "at least two"),
        (nowhere, {}, "not finite anywhere"),
        (saddle(), {"resolution": 1}, "`resolution`"),
        (saddle(), {"paths": [np.zeros((3, 3))]}, r"`paths\[0\]`"),
        (saddle(), {"paths": [SimpleNamespace(thetas=None)]}, "record_path=True"),
        (saddle(), {"extent": (1, 0, 0, 1)}, "`extent`"),
        (bowl(4), {}, "`theta` is needed"),
        (bowl(4), {"theta": np.zeros(3)}, "`theta`"),
        (bowl(4), {"theta": np.full(4, np.nan)}, "`theta`"),
        (bowl(4), {"theta": np.zeros(4), "directions": np.ones((2, 4))}, "parallel"),
        (bowl(4), {"theta": np.zeros(4), "directions": np.ones((2, 3))}, "`directions`"),
    ]
    for land, arguments, message in cases:
        with pytest.raises(ArgumentError, match=message):
            us.plot.surface(land, **arguments)
    with pytest.raises(ArgumentTypeError, match=r"`paths\[0\]`"):
        us.plot.surface(saddle(), paths=[["a"]])
