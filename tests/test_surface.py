"""The package's shape: public names, the core's stub, house rules of the source tree."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import unstuck as us

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "unstuck"
SOURCES = sorted(
    p
    for folder in ("cpp", "python", "tests", "bench")
    for p in (ROOT / folder).rglob("*")
    if p.suffix in {".py", ".pyi", ".cpp", ".hpp"} and "build" not in p.parts
)
NETWORK_NAMES = ["Network", "Linear", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid"]
NETWORK_NAMES += ["Softplus", "Identity", "CrossEntropy", "MSE", "BCEWithLogits", "Huber"]


def test_network_names_exist():
    assert [name for name in NETWORK_NAMES if not hasattr(us.nn, name)] == []
    assert us.NetworkLandscape
    assert us.FunctionLandscape
    assert us.threads
    assert us.__version__


def test_all_lists_real_names():
    for module in (us, us.nn):
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert missing == [], module.__name__
        assert len(set(module.__all__)) == len(module.__all__)


def public_docstrings(module):
    """(name, object) of every public class and function, and of their public methods."""
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            for method, member in vars(thing).items():
                if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield f"{module.__name__}.{name}.{method}", member


def test_public_names_are_documented():
    things = [pair for module in (us, us.nn) for pair in public_docstrings(module)]
    assert [name for name, thing in things if not inspect.getdoc(thing)] == []


def test_every_error_is_a_standard_error():
    standard = (ValueError, TypeError, RuntimeError, ArithmeticError, Warning)
    for name, thing in vars(us.errors).items():
        if inspect.isclass(thing) and thing is not us.errors.UnstuckError:
            assert issubclass(thing, standard), name


def stub_names():
    """{name: set of method names or None} that the stub declares."""
    names: dict[str, set[str] | None] = {}
    for node in ast.parse((PACKAGE / "_core.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names[node.name] = None
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = None
        elif isinstance(node, ast.ClassDef):
            names[node.name] = {
                n.name if isinstance(n, ast.FunctionDef) else n.target.id
                for n in node.body
                if isinstance(n, (ast.FunctionDef, ast.AnnAssign))
            }
    return {name: members for name, members in names.items() if not name.startswith("_")}


def test_stub_lists_exactly_what_the_core_has():
    declared = stub_names()
    public = {name for name in dir(us._core) if not name.startswith("_")}
    assert set(declared) - public == set(), "declared, but not in the core"
    assert public - set(declared) == set(), "in the core, but not declared"
    for name in public:
        thing = getattr(us._core, name)
        if inspect.isclass(thing):
            members = {m for m in vars(thing) if not m.startswith("_") or m == "__init__"}
            stated = {m for m in declared[name] or () if not m.startswith("_") or m == "__init__"}
            assert members - stated - {"__init__"} == set(), f"{name}: in the core, but not declared"
            assert stated - members == set(), f"{name}: declared, but not in the core"
        else:
            assert declared[name] is None, f"{name} is no class"


def signature_in_docstring(function):
    """Parameter names that pybind11 wrote into the docstring of a function without overloads."""
    text = (function.__doc__ or "").splitlines()
    match = re.match(r"\w+\((.*)\)", text[0]) if text else None
    if match is None or "*args" in match[1]:
        return None
    flat, nested = match[1], None
    while flat != nested:  # tuple[str, int] holds commas, too
        flat, nested = re.sub(r"\[[^\[\]]*\]", "", flat), flat
    return re.findall(r"(?:^|, )(\w+)(?=:)", flat)


def test_stub_has_the_parameter_names_of_the_core():
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            found = signature_in_docstring(getattr(us._core, node.name))
            if found is not None:
                arguments = node.args
                stated = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                assert stated == found, node.name


def test_files_are_short_and_say_what_they_are():
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        name = path.relative_to(ROOT)
        assert len(lines) <= 450, f"{name} has {len(lines)} lines"
        opening = ('"""',) if path.suffix in {".py", ".pyi"} else ("// ",)
        assert lines, name
        assert lines[0].startswith(opening), f"{name}: the first line must say what the file is"


def test_no_nameless_files():
    nameless = {"utils", "util", "misc", "helpers", "helper", "common", "tools"}
    assert [str(p) for p in SOURCES if p.stem in nameless or nameless & set(p.relative_to(ROOT).parts)] == []


def code_without_comments(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    comment = r"//[^\n]*|/\*.*?\*/" if path.suffix in {".cpp", ".hpp"} else r"#[^\n]*"
    return re.sub(comment, "", text, flags=re.S if path.suffix in {".cpp", ".hpp"} else 0)


def test_no_flags_that_change_the_meaning_of_numbers():
    forbidden = ("-march=native", "-mtune=native", "-ffast-math", "-Ofast", "-funsafe-math-optimizations")
    forbidden += (
        "-ffinite-math-only",
        "-fassociative-math",
        "_SET_FLUSH_ZERO_MODE",
        "_SET_DENORMALS_ZERO_MODE",
    )
    files = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *(ROOT / "cpp").rglob("*.cmake")]
    for path in [*files, *(p for p in SOURCES if p.suffix in {".cpp", ".hpp"})]:
        found = [flag for flag in forbidden if flag in code_without_comments(path)]
        assert found == [], path.relative_to(ROOT)


def test_one_file_knows_openmp_and_one_knows_pybind11():
    for path in (p for p in SOURCES if p.suffix in {".cpp", ".hpp"}):
        name, code = path.name, code_without_comments(path)
        if "#pragma omp" in code:
            assert name == "parallel.hpp", f"{name} holds an OpenMP pragma"
            assert all("num_threads(" in line for line in code.splitlines() if "omp parallel" in line)
        if re.search(r"#include\s*<omp\.h>", code):
            assert name == "parallel.cpp", f"{name} includes omp.h"
        if re.search(r"#include\s*<pybind11", code):
            assert name in {"arrays.hpp", "cpu_module.cpp"}, f"{name} includes pybind11"


def calls(path: Path):
    """(dotted name, node) of every call in a Python file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_package_executes_and_unpickles_nothing():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imports |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        name = path.relative_to(ROOT)
        assert not imports & {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve"}, name
        assert not {i.split(".")[0] for i in imports} & {"urllib", "http", "requests", "socket"}, name
        for function, node in calls(path):
            assert function not in {"eval", "exec", "yaml.load", "os.system"}, f"{name}: {function}"
            loose = [k for k in node.keywords if k.arg == "allow_pickle" and getattr(k.value, "value", True)]
            assert not loose, f"{name}: allow_pickle"


def test_optional_packages_are_imported_inside_functions():
    optional = {"torch", "matplotlib", "jinja2", "rich_click", "safetensors", "sklearn", "mpi4py", "rich"}
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in {"torch", "mpi.py", "sklearn.py"}:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            found = {a.name.split(".")[0] for a in getattr(node, "names", []) if isinstance(node, ast.Import)}
            if isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
            assert not found & optional, path.relative_to(ROOT)


def test_built_for_the_running_interpreter():
    assert us._core.level in {"v2", "v3", "v4", "portable"}
    assert us._core.__name__ == "unstuck._core"


def test_types_of_the_core_carry_its_public_name():
    for name in dir(us._core):
        thing = getattr(us._core, name)
        if inspect.isclass(thing):
            assert thing.__module__ == "unstuck._core", name
