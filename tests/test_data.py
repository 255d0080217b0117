"""The shipped digits, tables from hostile files, the split."""

from __future__ import annotations

import io
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import unstuck as us
from unstuck.errors import ArgumentError, ArgumentTypeError, DataError

GOOD = "a,b,label\n" + "".join(f"{i},{i * 0.5},{'cat' if i % 2 else 'dog'}\n" for i in range(8))


def write(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- digits ---


def test_digits_are_the_uci_ones():
    X, y = us.data.digits()
    assert X.shape == (1797, 64)
    assert X.dtype == np.float32
    assert (float(X.min()), float(X.max())) == (0.0, 1.0)
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert us.data.digits()[0] is not X
    shipped = Path(us.data.__file__).with_name("digits.npz")
    assert shipped.stat().st_size < 100_000
    assert "CC BY 4.0" in us.data.ATTRIBUTION
    assert "CC BY 4.0" in shipped.with_name("digits-LICENSE.txt").read_text()


def test_digits_equal_scikit_learns_copy():
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    theirs = datasets.load_digits()
    X, y = us.data.digits()
    assert np.array_equal(X * 16, theirs.data)
    assert np.array_equal(y, theirs.target)


# --- good tables ---


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.rstrip("\n"),
        GOOD + "\n\n",
        GOOD.replace("a,b,label", '"a", b , "label"'),
        GOOD.replace("cat", '" cat"'),
    ],
    ids=[
        "plain",
        "bom",
        "crlf",
        "cr",
        "semicolon",
        "tab",
        "no-end",
        "blank-lines",
        "quoted-header",
        "quoted-text",
    ],
)
def test_a_table_in_every_usual_dress(tmp_path, content):
    table = us.data.load(write(tmp_path, content), "label")
    assert table.task == "classification"
    assert table.classes == ("cat", "dog")
    assert table.features == ("a", "b")
    assert table.X.dtype == np.float64
    assert table.X.tolist() == [[i, i * 0.5] for i in range(8)]
    assert table.y.tolist() == [1, 0] * 4
    assert "`label` holds 2 different texts" in table.reason


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([1, 2, 1, 2], "classification", ("1", "2")),
        ([-1, 1, -1, 1], "classification", ("-1", "1")),
        ([10, 9, 10, 9], "classification", ("9", "10")),
        ([1.0, 2.0, 1.0, 2.0], "classification", ("1", "2")),
        ([1.5, 2, 1, 2], "regression", ()),
        ([1, 2, 3, 4], "regression", ()),
        (list(range(33)) * 3, "regression", ()),
    ],
)
def test_the_target_decides_the_task(tmp_path, values, task, classes):
    path = write(tmp_path, "x,y\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values)))
    table = us.data.load(path, "y")
    assert (table.task, table.classes) == (task, classes)
    assert table.reason.lower().startswith(task)
    assert "`y` holds" in table.reason
    if task == "classification":
        assert [float(classes[c]) for c in table.y] == values
        forced = us.data.load(path, "y", task="regression")
        assert forced.task == "regression"
        assert forced.y.tolist() == values
        assert "as asked" in forced.reason


def test_columns_are_chosen_by_name(tmp_path):
    path = write(tmp_path, "id,a,b,y\nn1,1,2,0\nn2,3,4,1\nn3,5,6,0\nn4,7,8,1\n")
    assert us.data.load(path, "y", drop=["id"]).features == ("a", "b")
    assert us.data.load(path, "y", features=["b"]).X.tolist() == [[2], [4], [6], [8]]
    with pytest.raises(DataError, match="line 2: column `id` holds 'n1', which is not a number"):
        us.data.load(path, "y")


def test_npz_arrays_become_columns(tmp_path):
    path = tmp_path / "t.npz"
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.normal(size=(6, 2, 2)).astype("f4"))
    np.savez_compressed(path, X=X, w=np.arange(6, dtype=">i2"), y=np.array(["a", "b"] * 3), extra=np.zeros(3))
    table = us.data.load(path, "y", drop=["extra"])
    assert table.features == ("X_0", "X_1", "X_2", "X_3", "w")
    assert np.array_equal(table.X, np.c_[X.reshape(6, -1), np.arange(6)])
    assert table.classes == ("a", "b")
    with pytest.raises(DataError, match=r"`extra` has shape \(3,\), the target has 6 rows"):
        us.data.load(path, "y")


# --- bad CSV ---

BAD = {
    "empty": (b"", "is empty"),
    "only-newlines": ("\n\n\n", "first line must hold the column names"),
    "no-rows": ("a,b,label\n", "no rows"),
    "utf-16": (GOOD.encode("utf-16"), "UTF-16"),
    "utf-16-no-bom": (GOOD.encode("utf-16-le"), "NUL"),
    "utf-32": (GOOD.encode("utf-32"), "UTF-32"),
    "latin-1": (GOOD.replace("cat", "käse").encode("latin-1"), "line 3: the byte 0xe4 is not UTF-8 text"),
    "latin-1-header": (GOOD.replace("a,b", "ä,b").encode("latin-1"), "line 1: the byte 0xe4"),
    "latin-1-late": (("a,label\n" + "1,x\n" * 300_000 + "1,ö\n").encode("latin-1"), "line 300002: the byte 0xf6"),
    "latin-1-crlf": (("a,label\r\n" + "1,x\r\n" * 400_000 + "1,ö\r\n").encode("latin-1"), "line 400002: the byte"),
    "cut-character": (GOOD.encode() + "1,2,ö".encode()[:-1], "line 10: the text ends in the middle"),
    "nul": (GOOD.replace("cat", "c\0t"), "line 3: holds NUL"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "gzip"),
    "zip": (b"PK\x03\x04" + bytes(100), "zip"),
    "binary": (bytes(range(256)) * 8, "t.csv"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "t.csv"),
    "ragged-short": (GOOD + "1,2\n", "line 10: has 2 fields, the header has 3"),
    "ragged-long": (GOOD + "1,2,cat,4\n", "line 10: has 4 fields"),
    "duplicate-header": (GOOD.replace("a,b", "a,a"), "two columns are named `a`"),
    "empty-header": (GOOD.replace("a,b", "a,"), "column 2 has no name"),
    "no-header": ("1,2,3\n4,5,6\n", "add a header line"),
    "text-cell": (GOOD.replace("0.5", "half"), "line 3: column `b` holds 'half', which is not a number"),
    "decimal-comma": ("a;label\n1,5;x\n2,5;y\n", "write decimals with a point"),
    "nan": (GOOD.replace("0.5", "nan"), "line 3: column `b` has no value"),
    "NA": (GOOD.replace("0.5", "NA"), "line 3: column `b` has no value"),
    "blank-cell": (GOOD.replace("0.5", " "), "line 3: column `b` has no value"),
    "1e999": (GOOD.replace("0.5", "1e999"), "line 3: column `b` holds a number too large"),
    "-inf": (GOOD.replace("0.5", "-inf"), "line 3: column `b` holds a number too large"),
    "missing-target": (GOOD.replace("0.5,cat", "0.5,"), "line 3: the target `label` has no value"),
    "one-class": (GOOD.replace("cat", "dog"), "in every row"),
    "one-number": ("a,label\n1,7\n2,7\n", "is 7 in every row"),
    "unknown-column": (GOOD.replace("label", "labels"), "did you mean `labels`"),
    "target-only": ("label\n1\n2\n", "no feature column left"),
    "names-as-target": ("a,label\n" + "".join(f"{i},n{i}\n" for i in range(9)), "neither numeric"),
    "typo-in-target": (
        "a,label\n" + "".join(f"{i},{i / 7}\n" for i in range(9)) + "1,2.o\n",
        "line 11 holds '2.o'",
    ),
    "unclosed-quote": (GOOD + '1,2,"cat\n', "line 10: not valid CSV"),
    "stray-quote": (GOOD + '1,2,"c"at\n', "line 10: not valid CSV"),
    "long-field": (GOOD + f"1,2,{'x' * 131_073}\n", "line 10: one field goes on for more than 131,072 characters"),
    "open-quote": (GOOD + '1,2,"cat\n' + "1,2,dog\n" * 20_000, "a quote may be open"),
    "long-target": (GOOD + f"1,2,{'x' * 20_000}\n", "line 10: the target's text has 20,000"),
    "long-line": ("a" * (2**23 + 10), "line 1: longer than"),
    "long-name": ("a" * 20_000 + ",label\n1,2\n", "20,000 characters"),
    "wide": (",".join(f"c{i}" for i in range(100_000)) + "\n", "100,000 columns"),
    "inf-target": ("a,label\n1,inf\n2,3\n", "line 2: the target `label` is not a finite number"),
    "control-characters": (
        "a\x1b[31m,label\n1\x1b]0;x\x07,2\n3,4\n",
        "line 2: column `a [31m` holds '1 ]0;x'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_csv_is_one_clear_error(tmp_path, case):
    content, message = BAD[case]
    path = write(tmp_path, content)
    start = time.perf_counter()
    with pytest.raises(DataError) as raised:
        us.data.load(path, "label")
    assert time.perf_counter() - start < 5
    text = str(raised.value)
    assert message in text
    assert "t.csv" in text
    assert text.isprintable()
    assert len(text) < 500
    assert str(tmp_path) not in text


def test_limits_are_kept(tmp_path):
    path = write(tmp_path, GOOD)
    for limits, message in [
        (us.data.Limits(file_bytes=10), "bytes, more than the limit of 10"),
        (us.data.Limits(rows=3), "over 3 rows"),
        (us.data.Limits(cells=5), "or 5 numbers"),
        (us.data.Limits(columns=2), "3 columns"),
        (us.data.Limits(line_characters=8), "line 1: longer than 8"),
    ]:
        with pytest.raises(DataError, match=message):
            us.data.load(path, "label", limits=limits)


def test_only_regular_files_are_read(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        us.data.load(tmp_path / "none.csv", "label")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        us.data.load(tmp_path / "folder.csv", "label")
    with pytest.raises(DataError, match="must end in"):
        us.data.load(write(tmp_path, GOOD, "t.xlsx"), "label")
    with pytest.raises(ArgumentTypeError, match="`path`"):
        us.data.load(3, "label")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="null"):
        us.data.load("a\0b.csv", "label")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(DataError, match="not a regular file"):
            us.data.load(tmp_path / "pipe.csv", "label")


def test_target_and_task_arguments(tmp_path):
    path = write(tmp_path, GOOD)
    with pytest.raises(ArgumentError, match="`task`"):
        us.data.load(path, "label", task="ranking")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="regression needs numbers"):
        us.data.load(path, "label", task="regression")
    with pytest.raises(DataError, match="no classes"):
        us.data.load(path, "b", task="classification", drop=["label"])
    with pytest.raises(DataError, match="cannot also be a feature"):
        us.data.load(path, "label", features=["a", "label"])
    with pytest.raises(DataError, match="no column `c`"):
        us.data.load(path, "label", drop=["c"])


# --- bad archives ---


def member(array=None, header: bytes | None = None, data: bytes = b"") -> bytes:
    if header is None:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=True)
        return buffer.getvalue()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return path


HUGE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
ARCHIVES = {
    "pickle": ({"x.npy": member(np.array([{}, None, 1, 2], dtype=object))}, "objects"),
    "promise": ({"x.npy": member(header=HUGE, data=bytes(64))}, "promises 8,000,000,000,000 bytes"),
    "overflow": ({"x.npy": member(header=HUGE.replace(b",)", b"00000000000,)"))}, "promises"),
    "negative": ({"x.npy": member(header=HUGE.replace(b"(1000000000000,)", b"(-4,)"))}, "negative size"),
    "short": ({"x.npy": member(np.arange(4.0))[:-4]}, "promises 32 bytes of data but has fewer"),
    "long": ({"x.npy": member(np.arange(4.0)) + b"1234"}, "promises 32 bytes of data but has more"),
    "code-header": ({"x.npy": member(header=b"__import__('os').abort()")}, "damaged header"),
    "no-magic": ({"x.npy": b"hello"}, "damaged header"),
    "not-npy": ({"x.txt": b"hello"}, "not a NumPy array"),
    "bomb": ({"x.npy": bytes(2**20)}, "unpacks to"),
    "many": ({f"x{i}.npy": b"" for i in range(1001)}, "more than the limit of 1,000"),
    "rows": ({"x.npy": member(np.zeros((3, 2)))}, "the target has 4 rows"),
    "scalar": ({"x.npy": member(np.float64(3.0))}, "the target has 4 rows"),
    "complex": ({"x.npy": member(np.zeros(4, complex))}, "dtype complex128"),
    "structured": ({"x.npy": member(np.zeros(4, [("a", "f8")]))}, "dtype"),
    "nan": ({"x.npy": member(np.array([1, np.nan, 2, 3]))}, "row 2: `x` has no value"),
    "text": ({"x.npy": member(np.array(["a", "b", "c", "d"]))}, "holds text"),
    "no-columns": ({"x.npy": member(np.zeros((4, 0)))}, "no feature"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_bad_archive_is_one_clear_error(tmp_path, case):
    members, message = ARCHIVES[case]
    path = archive(tmp_path / "t.npz", {**members, "y.npy": member(np.array([0, 1, 0, 1]))})
    with pytest.raises(DataError, match=message) as raised:
        us.data.load(path, "y", limits=us.data.Limits(inflated_bytes=2**20))
    assert str(raised.value).isprintable()


def test_damaged_archives(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, x=np.arange(4.0), y=np.array([0, 1, 0, 1]))
    whole = path.read_bytes()
    refused = 0
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            us.data.load(path, "y")
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            us.data.load(path, "y")
        except DataError:
            refused += 1
    assert refused > 30
    with pytest.raises(DataError, match="2-D|shape"):
        np.savez(path, x=np.arange(4.0), y=np.zeros((4, 2)))
        us.data.load(path, "y")


# --- missing values ---


def test_missing_values_are_kept_when_asked_for(tmp_path):
    path = write(tmp_path, "a,b,y\n1, ,0\nNA,2,1\n3,?,0\n-nan,4,1\n")
    found = us.data.load(path, "y", missing="keep")
    np.testing.assert_array_equal(found.X, [[1, np.nan], [np.nan, 2], [3, np.nan], [np.nan, 4]])
    assert found.y.tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match="line 2: column `b` has no value; .* see the option `missing`"):
        us.data.load(path, "y")
    X = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0], [6.0, np.nan]])
    np.savez(tmp_path / "t.npz", X=X, y=[0, 1, 0, 1])
    np.testing.assert_array_equal(us.data.load(tmp_path / "t.npz", "y", missing="keep").X, X)


def test_kept_missing_values_excuse_nothing_else(tmp_path):
    for content, message in [
        ("a,b,y\n,x,0\n1,2,1\n", "line 2: column `b` holds 'x'"),
        ("a,b,y\n,1e999,0\n1,2,1\n", "line 2: column `b` holds a number too large"),
        ("a,b,y\n1,2,\n1,2,1\n", "the target `y` has no value"),
    ]:
        with pytest.raises(DataError, match=message):
            us.data.load(write(tmp_path, content), "y", missing="keep")
    np.savez(tmp_path / "t.npz", X=[[np.inf], [np.nan]], y=[0, 1])
    with pytest.raises(DataError, match="row 1: `X_0` is not finite"):
        us.data.load(tmp_path / "t.npz", "y", missing="keep")
    with pytest.raises(ArgumentError, match="`missing`"):
        us.data.load(tmp_path / "t.npz", "y", missing="mean")


# --- split ---


def test_split_is_a_partition():
    train, held = us.data.split(10, 0.25, seed=3)
    assert len(held) == 2
    assert sorted([*train, *held]) == list(range(10))
    assert np.array_equal(us.data.split(10, 0.25, seed=3)[1], held)
    assert len(us.data.split(5, 0.0)[1]) == 0
    for n, fraction in [(2, 0.9), (3, 0.1), (10, 1.0), (10, -0.1)]:
        with pytest.raises(ArgumentError, match="`fraction`"):
            us.data.split(n, fraction)
