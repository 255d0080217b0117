"""Names of users in reports: no extra element, no script, no request, no control character, in any form."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest

import unstuck as us
from hostile_names import NAMES, Skeleton, sample
from unstuck.report import charts
from unstuck.report.facts import plain
from unstuck.report.html import fragment

SHAPES = (
    "path",
    "g",
    "use",
    "image",
    "text",
    "rect",
    "circle",
    "clippath",
    "defs",
)  # of charts, which check themselves
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


def test_names_never_become_markup():
    plain_page = Skeleton(sample("name").html())
    for name in NAMES:
        page = sample(name).html()
        parsed = Skeleton(page)
        assert parsed.tags == plain_page.tags, name
        visible = plain(name)[:100]
        assert sum(visible in text for text in parsed.texts) >= 8, name
        data = json.loads(page.split('id="unstuck-data">')[1].split("</script>")[0])
        assert data["facts"][0]["label"] == name


def test_names_in_figures_and_fragments_never_become_markup():
    steps = np.arange(5)
    bare = Skeleton(charts.gradient_norm(steps, steps, [(1, "x")]).svg)
    box = Skeleton(fragment("a", "b", sample("c").facts))
    for name in NAMES[::2]:
        figure = Skeleton(charts.gradient_norm(steps, steps, [(1, name)]).svg)
        assert [tag for tag, _ in figure.tags] == [tag for tag, _ in bare.tags], name
        assert plain(name, 40) in [text.strip() for text in figure.texts], name
        shown = Skeleton(fragment(name, name, sample(name).facts))
        assert [tag for tag, _ in shown.tags] == [tag for tag, _ in box.tags], name


# --- where names come from: blocks of a landscape, columns and classes of a table ---


def saddle(name: str) -> us.Diagnosis:
    """A saddle whose block bends down."""
    land = us.FunctionLandscape(
        lambda w: w[0] * w[1], lambda w: w[::-1].copy(), n=2, theta=np.zeros(2), blocks=[(name, slice(0, 2), (2,))]
    )
    return us.diagnose(land)


def broken(name: str) -> us.Trainer:
    """A run whose first update was refused; the block gets the blame."""
    land = us.FunctionLandscape(
        lambda w: float("nan"), lambda w: w * np.nan, n=2, theta=np.ones(2), blocks=[(name, slice(0, 2), (2,))]
    )
    run = us.Trainer(land, us.optim.SGD(lr=0.1))
    with pytest.raises(us.errors.NonFiniteError) as refused:
        run.fit(steps=1)
    assert not CONTROL.search(str(refused.value))
    return run


def forms(found: us.Diagnosis) -> tuple[list[str], list[str]]:
    """(texts, pages) of a diagnosis."""
    report = found.report()
    return [str(found), str(report), *map(str, found.remedies)], [report.html(), found._repr_html_()]


def test_names_of_blocks_in_every_form_of_a_diagnosis():
    bare = [forms(found) for found in (saddle("weight"), us.diagnose(broken("weight")))]
    shapes = [[Skeleton(page).shape for page in pages] for _, pages in bare]
    for name in NAMES:
        for kind, found in enumerate((saddle(name), us.diagnose(broken(name)))):
            texts, pages = forms(found)
            assert [Skeleton(page).shape for page in pages] == shapes[kind], name
            assert not any(CONTROL.search(text) for text in texts), name
            assert max(map(len, texts)) < 20_000, name
            data = json.loads(found.to_json())
            assert json.dumps(data).isascii()
            assert name in json.dumps(data, ensure_ascii=False) or json.dumps(name)[1:-1] in json.dumps(data), name


def test_names_in_what_unstick_says():
    assert not CONTROL.search(str(us.unstick(broken("a\x1b[31m\u202e"))))


@pytest.mark.parametrize("name", [name for name in NAMES if "\r" not in name and "\x00" not in name][::3])
def test_names_of_columns_and_classes(name, tmp_path, capsys):
    from command_line import FAST, run

    pytest.importorskip("rich_click", reason="needs rich-click")
    name = name.encode("utf-8", "replace").decode()
    cell = '"' + name.replace('"', '""') + '"'
    rows = [f"{i % 7},{(i * 3) % 5},{cell if i % 2 else 'other'}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join([f"{cell},b,y", *rows]) + "\n", encoding="utf-8")
    page = tmp_path / "r.html"
    code, out, err = run(capsys, "train", str(tmp_path / "t.csv"), "--target", "y", *FAST, "--report", str(page))
    assert code in (0, 1), err
    assert not CONTROL.search(out + err)
    bare = {*Skeleton(sample("a gradient").html()).shape, ("rect",), ("circle",)}
    shape = Skeleton(page.read_text(encoding="utf-8")).shape
    assert {(tag, *sorted(rest)) for tag, *rest in shape if tag not in SHAPES} <= {
        (tag, *sorted(rest)) for tag, *rest in bare
    }
    assert run(capsys, "train", str(tmp_path / "t.csv"), "--target", f"{name}?", *FAST)[0] == 2


# --- in a browser ---


class Proxy(http.server.BaseHTTPRequestHandler):
    """Notes what it is asked for, and gives nothing."""

    def do_GET(self):
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    do_CONNECT = do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, format, *args):
        pass


@pytest.fixture
def browser(tmp_path):
    """page -> (the document after loading as HTML, what was asked of the network)."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs chromium")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    quiet = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-sync"]
    flags = [f"--{flag}" for flag in ("headless", "no-sandbox", "disable-component-update", "dump-dom", *quiet)]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--proxy-server=http://127.0.0.1:{server.server_port}"]

    def show(page: str) -> tuple[str, list[str]]:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        server.asked = []  # type: ignore[attr-defined]
        command = [chromium, *flags, "--virtual-time-budget=2000", path.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return done.stdout.decode("utf-8", "replace"), [asked for asked in server.asked if "evil" in asked]  # type: ignore[attr-defined]

    yield show
    server.shutdown()
    server.server_close()
    thread.join(10)


def together(texts: list[str]) -> str:
    """One page with every text in every place."""
    reports = [sample(text) for text in texts]
    facts = [fact for report in reports for fact in report.facts]
    answers = [answer for report in reports for answer in report.answers]
    line = np.arange(4), np.arange(4.0)
    figures = [
        charts.copies(line, [charts.Curve(text, *line, True) for text in texts[i : i + 7]])
        for i in range(0, len(texts), 7)
    ]
    joined = " ".join(texts)
    data = {text: text for text in texts}
    return us.report.build(
        joined, joined, facts, figures, data, remedies=facts, details=facts, answers=answers, note=joined
    ).html()


def test_a_browser_sees_no_extra_element_runs_nothing_and_asks_for_nothing(browser):
    counted = "<script>document.title='ran'</script><img src='http://evil.example/a.png'>"
    dom, asked = browser(f"<!doctype html><title>t</title>{counted}")
    assert "<title>ran</title>" in dom, "the check itself sees a script that runs"
    assert any("evil.example" in request for request in asked), "and a request"
    dom, asked = browser(together(NAMES))
    assert asked == []
    bare = Skeleton(together(["name"] * len(NAMES))).shape
    assert [element for element in Skeleton(dom).shape if element != ("tbody",)] == bare
