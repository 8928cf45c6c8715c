"""The order of the house: style, imports, one meaning a name, types and shapes of what is public."""
import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "pandas", "matplotlib", "casadi", "opensim", "nimblephysics", "vtkmodules",
         "imageio_ffmpeg", "anywidget", "voila", "distributed", "vector_quantize_pytorch", "deepspeed"}
POSIX = {"fcntl", "resource", "termios", "pwd", "grp"}     # not on Windows


def chapters() -> dict[str, str]:
    """Module -> chapter number in the order of the book: appendix A, the chapters, the outer appendix B."""
    found = {}
    order = {"A": 0, "B": 2}
    for path in sorted((ROOT / "nbs").glob("*_*.ipynb"), key=lambda p: (order.get(p.name[0], 1), p.name)):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
        if module := re.search(r"^#\| *default_exp +(\w+)", text, re.M):
            found[module[1]] = path.name.split("_")[0]
    return found


CHAPTERS = chapters()
MODULES = list(CHAPTERS)


def files(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


SOURCES = [f"bige/{m}.py" for m in MODULES] + files("benchmarks/*.py", "data_scripts/*.py")
STYLED = SOURCES + files("setup.py", "tests/**/*.py", "nbs/*.ipynb", "nbs/book/*.py")


def report(found) -> str:
    """One finding a line."""
    return "\n".join(["", *found])


@cache
def tree(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(encoding="utf-8"))


def module_of(node: ast.ImportFrom) -> str | None:
    """Which of our modules a `from … import` reads: '' for the package itself, None for another package."""
    name = node.module or ""
    if node.level:
        return name
    return name.removeprefix("bige").lstrip(".") if name.split(".")[0] == "bige" else None


def imports(source: str) -> list[tuple[str, str, int]]:
    """Our modules that a file imports, wherever in it: (module, name or '', line)."""
    found = []
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.ImportFrom) and (module := module_of(node)) is not None:
            found += [(module or a.name, a.name if module else "", node.lineno) for a in node.names]
        elif isinstance(node, ast.Import):
            found += [(a.name[5:], "", node.lineno) for a in node.names if a.name.startswith("bige.")]
    return found


def names_of_modules(source: str) -> dict[str, str]:
    """Names by which a file calls our modules: {'tracking': 'tracking'}."""
    found = {}
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.ImportFrom) and module_of(node) == "":
            found |= {a.asname or a.name: a.name for a in node.names if a.name in CHAPTERS}
        elif isinstance(node, ast.Import):
            found |= {a.asname: a.name[5:] for a in node.names if a.name.startswith("bige.") and a.asname}
    return found


# style

@pytest.fixture(scope="session")
def style() -> dict[str, list[str]]:
    """What ruff (ruff.toml) says of each file."""
    pytest.importorskip("ruff", reason="style needs ruff: pip install -e '.[dev]'")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json"],
                          cwd=ROOT, capture_output=True, text=True)
    found = defaultdict(list)
    for each in json.loads(done.stdout):
        cell = f"cell {each['cell']}, " if each.get("cell") else ""
        source = str(Path(each["filename"]).relative_to(ROOT))
        found[source].append(f"{cell}line {each['location']['row']}: {each['code']} {each['message']}")
    return found


@pytest.mark.parametrize("source", STYLED)
def test_style(source, style):
    assert not style[source], report(style[source])


# what a module may import

@pytest.mark.parametrize("source", SOURCES)
def test_imports_no_private_name(source):
    called = names_of_modules(source)
    taken = [f"line {line}: {module}.{name}" for module, name, line in imports(source)
             if name.startswith("_")]
    taken += [f"line {node.lineno}: {called[node.value.id]}.{node.attr}" for node in ast.walk(tree(source))
              if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
              and node.value.id in called and re.match("_[^_]", node.attr)]
    assert not taken, report(taken)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_forward(module):
    """Appendix A, then the chapters; the outer appendix (B) is for chapters of the output and for itself."""
    own = MODULES.index(module)
    backward = []
    for other, _, line in imports(f"bige/{module}.py"):
        if other not in CHAPTERS:
            continue
        outer = CHAPTERS[other].startswith("B") and "34" <= CHAPTERS[module] < "A"
        if MODULES.index(other) >= own and not outer:
            backward.append(f"line {line}: {CHAPTERS[module]} {module} imports {CHAPTERS[other]} {other}")
    assert not backward, report(backward)


def test_every_module_has_a_chapter():
    kept = {p.stem for p in (ROOT / "bige").glob("*.py")} - {"__init__", "_modidx"}
    assert kept == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_one_system_is_imported_at_the_top(module):
    """`import bige.module` works on Windows too."""
    top = tree(f"bige/{module}.py").body
    names = [a.name for node in top if isinstance(node, ast.Import) for a in node.names]
    names += [node.module for node in top if isinstance(node, ast.ImportFrom) and not node.level]
    roots = {name.split(".")[0] for name in names}
    assert not roots & POSIX, report(roots & POSIX)


# torch is for learning, guidance and what shows their answers; other heavy packages wait until they are used
TORCH = {"pose", "calibration", "inverse_kinematics", "prior",
         "training", "vqvae", "train_vqvae", "surrogate", "train_surrogate",
         "constraints", "constraint_files", "reachability", "guidance", "verification", "answers", "advice",
         "tuning", "tuning_page", "display"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_nothing_heavy(module):
    if module == "tuning_server":
        pytest.importorskip("voila", reason="the server of the tuning page needs 'bige[tune]'")
    allowed = {"torch"} if module in TORCH else set()
    # whose classes are widgets, and a server
    allowed |= {"tuning_page": {"anywidget"}, "tuning_server": {"voila"}}.get(module, set())
    code = f"import sys, bige.{module}; print(*sorted(set({sorted(HEAVY - allowed)}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == []


# names

def exported(module: str) -> list[str]:
    """What `__all__` of a module holds, without names of methods that were patched into a class."""
    for node in tree(f"bige/{module}.py").body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


@cache
def homes() -> dict[str, list[str]]:
    """Public name -> modules that define it."""
    found = defaultdict(list)
    for module in MODULES:
        for name in exported(module):
            found[name].append(module)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_public_name_has_one_home(module):
    shared = [f"{name}: also in {', '.join(set(homes()[name]) - {module})}" for name in exported(module)
              if len(homes()[name]) > 1]
    assert not shared, report(shared)


# types and shapes

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(module: str) -> list[tuple[str, Function]]:
    """Functions and methods without an underscore, and what makes an instance of a public class."""
    found = []
    for node in tree(f"bige/{module}.py").body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            found.append((node.name, node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [(f"{node.name}.{f.name}", f) for f in node.body
                      if isinstance(f, Function) and (not f.name.startswith("_") or f.name == "__init__")]
    return found


def parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    return [p for p in given if p.arg not in ("self", "cls")]


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_are_annotated(module):
    missing = []
    for name, function in public_functions(module):
        bare = [p.arg for p in parameters(function) if p.annotation is None]
        if function.returns is None and not name.endswith(".__init__"):
            bare.append("return")
        if bare:
            missing.append(f"line {function.lineno}: {name}: {', '.join(bare)}")
    assert not missing, report(missing)


ARRAY = re.compile(r"\b(ndarray|Tensor|Array|ArrayLike)\b")
SHAPE = re.compile(r"\((…|\.\.\.|\*?[A-Za-z0-9_ +/×*-]+,)[^()]*\)|\bscalar\b|\([A-Z]\w*\)")


@pytest.mark.parametrize("module", MODULES)
def test_arrays_have_shapes(module):
    """A public function of arrays says their shapes, (T, 33), in its signature or docstring."""
    silent = []
    for name, function in public_functions(module):
        types = [ast.unparse(p.annotation) for p in parameters(function) if p.annotation]
        types += [ast.unparse(function.returns)] if function.returns else []
        words = (ast.get_docstring(function) or "") + " ".join(t for t in types if "[" in t)
        if any(map(ARRAY.search, types)) and not SHAPE.search(words):
            silent.append(f"line {function.lineno}: {name}")
    assert not silent, report(silent)


@pytest.mark.parametrize("module", MODULES)
def test_at_most_six_positional_parameters(module):
    long = []
    for name, function in public_functions(module):
        given = [a for a in [*function.args.posonlyargs, *function.args.args] if a.arg not in ("self", "cls")]
        if len(given) > 6:
            long.append(f"line {function.lineno}: {name}: {len(given)}")
    assert not long, report(long)
