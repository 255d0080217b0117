"""Settings as options, the labs' frame, and the claims of the labs."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

import unstuck as us
from unstuck.errors import ArgumentError, ArgumentTypeError
from unstuck.labs import animation, frame, saddle, taylor
from unstuck.plot import PATH, PATH_END, path_lines
from unstuck.settings import describe, make, setting

pytest.importorskip("matplotlib", reason="needs matplotlib")


@dataclass(frozen=True)
class Example:
    name: str = setting("a name")
    k: int = setting("a count", 3, least=1, most=9)
    x: float = setting("a number", 0.5)
    flag: bool = setting("a flag", False)
    sizes: tuple[int, ...] = setting("sizes", (4, 2), least=1)
    words: tuple[str, ...] = setting("words", ())
    mode: Literal["a", "b"] = setting("a mode", "a")
    rule: str = setting("a rule", "p", choices=lambda: ["p", "q"])
    limit: float | None = setting("a limit", None, least=0.0)
    some: tuple[float, ...] = setting("at least one", (1.0,), least=0.0, fewest=1)


def test_settings_take_what_fits():
    made = make(Example, {"name": "n", "k": np.int64(4), "x": 1, "sizes": [8], "limit": 2, "mode": "b"})
    assert made == Example("n", 4, 1.0, False, (8,), (), "b", "p", 2.0)
    assert type(made.k) is int
    assert type(made.x) is float
    assert make(Example, {"name": "n"}) == Example("n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("k", 0),
        ("k", 10),
        ("k", 2.0),
        ("k", True),
        ("k", None),
        ("x", "1"),
        ("x", np.nan),
        ("x", np.inf),
        ("flag", 1),
        ("sizes", "4"),
        ("sizes", (4, 0)),
        ("sizes", 4),
        ("some", ()),
        ("mode", "c"),
        ("rule", "c"),
        ("limit", -1.0),
    ],
)
def test_settings_refuse_what_does_not(name, value):
    with pytest.raises(ArgumentError, match=f"`{name}` must be"):
        make(Example, {"name": "n", name: value})


def test_settings_know_their_names():
    with pytest.raises(ArgumentError, match="no setting `no`"):
        make(Example, {"name": "n", "no": 1})
    with pytest.raises(ArgumentError, match="`name` is needed"):
        make(Example, {})


def test_settings_parse_text():
    fields = {field.name: field for field in describe(Example)}
    assert fields["sizes"].parse("128, 64") == (128, 64)
    assert fields["sizes"].parse("") == ()
    assert fields["x"].parse("1e-3") == 1e-3
    for name, text in [("k", "x"), ("k", "2.5"), ("sizes", "4,x"), ("x", "nan"), ("k", "99")]:
        with pytest.raises(ArgumentError, match=f"`{name}` must be"):
            fields[name].parse(text)


# --- the frame ---


def test_every_lab_is_complete():
    assert {"saddle", "taylor"} <= set(us.labs.NAMES)
    assert len(set(us.labs.NAMES)) == len(us.labs.NAMES)
    for name in us.labs.NAMES:
        lab = us.labs.load(name)
        assert lab.title
        assert lab.lecture
        assert all(field.help for field in describe(lab.settings))
        make(lab.settings, {})
        assert len(lab.text.split("\n")) > 2, "the docstring says what is done"


def test_unknown_labs_and_settings():
    with pytest.raises(ArgumentError, match="did you mean saddle"):
        us.labs.load("sadle")
    with pytest.raises(ArgumentError, match="there are saddle"):
        us.labs.load("x" * 500)
    with pytest.raises(ArgumentError, match="no setting `no`"):
        us.labs.run("saddle", no=1)
    with pytest.raises(ArgumentError, match="`steps` must be"):
        us.labs.run("saddle", steps=0)


@pytest.fixture(scope="module")
def saddle_run() -> us.labs.LabRun:
    return us.labs.run("saddle", resolution=15)


def test_a_run_writes_its_figure(saddle_run, tmp_path):
    for ending, start in [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".gif", b"GIF89a")]:
        path = tmp_path / f"a{ending}"
        assert saddle_run.save(path) == path
        assert path.read_bytes().startswith(start)
    for bad in (tmp_path / "a.exe", tmp_path / "none" / "a.png", tmp_path):
        with pytest.raises(ArgumentError, match="`path`"):
            saddle_run.save(bad)
    with pytest.raises(ArgumentTypeError, match="`path`"):
        saddle_run.save(None)  # type: ignore[arg-type]


def test_paths_grow_in_the_animation(saddle_run):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    figure = saddle_run.figure()
    (line,), (end,) = path_lines(figure, PATH), path_lines(figure, PATH_END)
    whole = np.column_stack(line.get_data())
    with image.open(io.BytesIO(animation.gif(figure, frames=5))) as picture:
        assert 2 <= picture.n_frames <= 5, "equal frames are one"
        first = np.asarray(picture.convert("RGB"), dtype=float)
        picture.seek(picture.n_frames - 1)
        last = np.asarray(picture.convert("RGB"), dtype=float)
    assert np.abs(first - last).max() > 50, "the path has grown"
    np.testing.assert_array_equal(np.column_stack(line.get_data()), whole)
    np.testing.assert_array_equal(np.ravel(end.get_data()), whole[-1])
    with pytest.raises(ArgumentError, match="no paths that could be animated"):
        animation.gif(us.labs.load("taylor").figure(us.labs.run("taylor", samples=30, hidden=2, steps=50).results))


def test_a_run_is_json(saddle_run):
    data = json.loads(json.dumps(saddle_run.to_dict(), allow_nan=False))
    assert data["lab"] == "saddle"
    assert data["holds"] is True
    assert data["settings"]["resolution"] == 15
    assert data["results"]["verdict"] == "STRICT_SADDLE"


# --- the claims ---


def test_saddle_is_the_lectures_example(saddle_run):
    found = saddle_run.results
    assert saddle_run.holds, saddle_run.sentence
    assert np.allclose(found["eigenvalues"], [-2, 2], rtol=0, atol=1e-12)
    assert found["model_at_u"] == -1.0
    assert found["loss_at_u"] == 0.0
    assert found["loss_after_escape"] < found["loss_at_saddle"] == 1.0
    assert found["losses"][-1] < 1e-6
    assert np.allclose(np.abs(found["eigenvectors"]), np.sqrt(0.5))
    assert "STRICT_SADDLE" in saddle_run.sentence


@pytest.mark.parametrize("settings", [{"exact": False}, {"x": 2.0, "y": 3.0, "lr": 0.01}, {"x": 0.1, "y": 0.5}])
def test_saddle_holds_at_other_settings(settings):
    run = us.labs.run("saddle", resolution=5, **settings)
    assert run.holds, run.sentence


def test_the_saddles_claim_can_fail(saddle_run):
    for change in [
        {"eigenvalues": np.array([-1.9, 2.0])},
        {"escaped": False},
        {"loss_after_escape": 1.0},
        {"valley": us.Verdict.LOCAL_MINIMUM},
        {"verdict": us.Verdict.UNDECIDED},
    ]:
        assert not saddle.claim({**saddle_run.results, **change})[0], change


@pytest.fixture(scope="module")
def taylor_run() -> us.labs.LabRun:
    return us.labs.run("taylor", samples=100, hidden=4, directions=2)


def test_the_models_errors_have_their_powers(taylor_run):
    assert taylor_run.holds, taylor_run.sentence
    assert np.allclose(taylor_run.results["start"]["quadratic_order"], 3, atol=0.4)
    assert np.allclose(taylor_run.results["start"]["linear_order"], 2, atol=0.05)
    assert taylor_run.results["critical"]["gradient_norm"] < 1e-4 * taylor_run.results["start"]["gradient_norm"]
    assert taylor_run.figure().axes


def test_taylors_claim_can_fail(taylor_run):
    start, critical = taylor_run.results["start"], taylor_run.results["critical"]
    for change in [
        {"start": {**start, "quadratic_order": [2.0, 2.0]}},
        {"critical": {**critical, "gradient_share": 0.5}},
        {"critical": {**critical, "quadratic_order": [np.nan, 3.0]}},
        {"start": {**start, "linear_order": [1.0, 1.0]}, "critical": {**critical, "linear_order": [1.0, 1.0]}},
    ]:
        assert not taylor.claim({**taylor_run.results, **change})[0]


def test_the_taylor_landscape_is_small_and_reproducible():
    settings = make(taylor.Settings, {"samples": 30, "hidden": 2})
    land, again = taylor.landscape(settings), taylor.landscape(settings)
    assert land.n == 64 * 2 + 2 + 2 * 10 + 10
    assert land.loss(land.theta) == again.loss(again.theta)
    assert frame.load("taylor").settings is taylor.Settings
