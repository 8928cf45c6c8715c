__version__ = "0.2.0"

# Names of daily use, by the module that holds them; each is imported when it is first used (chapter 45).
NAMES = {
    "library": ("read", "generate", "constraints_of"),
    "motion": ("Motion", "read_motion", "write_motion", "example_squat"),
    "markers": ("Markers", "OpenCapSession", "read_markers", "read_session"),
    "skeleton": ("Skeleton",),
    "exercises": ("Exercise", "load_exercise", "exercise_rows"),
    "inverse_kinematics": ("fit_markers", "ik_files"),
    "segmentation": ("segment", "segment_file"),
    "simulation": ("simulate", "simulate_files"),
    "reference_set": ("load_simulations",),
    "dataset": ("Dataset", "load_dataset", "build_dataset", "reference"),
    "surrogate": ("predict_activations", "load_surrogate"),
    "vqvae": ("load_vqvae",),
    "metrics": ("evaluate",),
    "constraint_files": ("ConstraintSet", "read_constraints", "write_constraints", "default_constraints"),
    "guidance": ("Models",),
    "answers": ("Request", "verify"),
    "advice": ("advise",),
    "display": ("Answer",),
    "rendering": ("strip", "preview"),
    "viewer": ("scene",),
    "report": ("curves", "render", "write_pages"),
    "bvh": ("write_bvh",),
    "bundles": ("export_bundles",),
    "tuning_server": ("tune",),
    "tables": ("table",),
    "files": ("InputError", "Suspicion"),
}
_CALLED = {"generate": "generate_motions", "render": "render_files", "tune": "launch"}
_HOME = {name: module for module, names in NAMES.items() for name in names}


def __getattr__(name: str):
    "A name of NAMES, or a module of the package."
    from importlib import import_module
    from importlib.util import find_spec
    if name in _HOME:
        found = getattr(import_module(f"bige.{_HOME[name]}"), _CALLED.get(name, name))
    elif not name.startswith("_") and find_spec(f"bige.{name}"):
        found = import_module(f"bige.{name}")
    else:
        raise AttributeError(f"module 'bige' has no attribute {name!r}{_meant(name)}", name=name, obj=None)
    globals()[name] = found
    return found


def _meant(name: str) -> str:
    from difflib import get_close_matches
    near = get_close_matches(name, _HOME, n=1)
    return f"; did you mean bige.{near[0]}?" if near else ""


def __dir__() -> list[str]:
    from pkgutil import iter_modules
    return sorted({*globals(), *_HOME, *(m.name for m in iter_modules(__path__) if m.name[0] != "_")})
