"""Cases from base files and mutations; each is read in a process that is watched; outcomes are counted."""
import multiprocessing
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import mutations as m
from . import readers as r
from . import references

OUTCOMES = ("refused", "right", "traceback", "hang", "crash", "silently wrong", "refused though right")
GOOD = {"refused", "right"}
CPU_S, MEMORY = 2.0, 12_000_000_000     # a reader's processor time; address space of the process that reads


@dataclass(frozen=True)
class Kind:
    """An input: the file name under which it is read, how it is changed, bige's reader, the independent
    one."""
    name: str
    file: str
    mutations: tuple[Callable, ...]
    read: Callable
    reference: Callable
    same: Callable = r.same
    harmless: tuple[Callable, ...] = ()
    row: str = ""


TEXT_TABLE = m.BYTES + m.TEXT + m.TABLE * 2
KINDS = {kind.name: kind for kind in (
    Kind("mot", "a.mot", TEXT_TABLE, r.read_motion, references.motion, harmless=m.SAME, row=".mot / .sto"),
    Kind("trc", "a.trc", TEXT_TABLE, r.read_trc, references.trc, harmless=m.SAME,
         row=".trc, marker npz, UI-PRMD"),
    Kind("prmd", "m01_s01_e01_positions.txt", m.BYTES + m.TEXT, r.read_prmd, r.prmd, harmless=m.SAME,
         row=".trc, marker npz, UI-PRMD"),
    Kind("markers", "a.npz", m.BYTES[:7] + m.NPZ * 2 + (m.zip_bomb,), r.read_archive, r.archive,
         row=".trc, marker npz, UI-PRMD"),
    Kind("osim", "a.osim", m.BYTES + m.TEXT + m.XML * 3, r.read_model, r.osim, harmless=m.SAME[::2],
         row=".osim"),
    Kind("request", "a.yaml", m.BYTES + m.TEXT + m.YAML * 2, r.read_request, references.request,
         r.same_request,
         harmless=m.SAME, row="YAML, --set, metadata"),
    Kind("set", "a.txt", m.TEXT[:2] + m.YAML[:7] + (m.flip_bit, m.change_word, m.insert_byte), r.read_setting,
         r.setting, r.same_setting, row="YAML, --set, metadata"),
    Kind("exercise", "mine.yaml", m.BYTES + m.TEXT + m.YAML * 2, r.read_exercise, r.exercise, harmless=m.SAME,
         row="YAML, --set, metadata"),
    Kind("metadata", "sessionMetadata.yaml", m.BYTES + m.TEXT + m.YAML * 2, r.read_metadata, r.metadata,
         harmless=m.SAME, row="YAML, --set, metadata"),
    Kind("dataset", "a.npz", m.BYTES[:7] + m.NPZ * 2 + (m.zip_bomb,), r.read_dataset, r.dataset,
         row="data set .npz"),
    Kind("dataset_01", "a.npz", m.BYTES[:7] + m.NPZ * 2, r.read_old_dataset, references.old_dataset,
         row="data set .npz"),
    Kind("surrogate", "a.safetensors", m.BYTES[:7] + m.SAFETENSORS * 2, r.read_surrogate, references.weights,
         row=".safetensors"),
    Kind("vqvae", "a.safetensors", m.BYTES[:7] + m.SAFETENSORS * 2, r.read_vqvae, references.weights,
         row=".safetensors"),
    Kind("published", "a.pth", m.BYTES[:7], r.read_published, references.published, r.same_bytes,
         row=".pth, .npy"),
    Kind("npy", "a.npy", m.BYTES[:7], r.read_array, r.array, row=".pth, .npy"),
    Kind("simulation", "simulation.json", m.BYTES + m.JSON * 3, r.read_simulation, r.record, row="side JSON"),
    Kind("ik", "ik.json", m.BYTES + m.JSON * 3, r.read_ik, r.record, row="side JSON"),
    Kind("metrics", "metrics.json", m.BYTES + m.JSON * 3, r.read_metrics, r.record, row="side JSON"),
)}


def case(kind: Kind, base: bytes, i: int) -> tuple[str, bytes]:
    """Name of the mutation and content of case `i`; the same in every run."""
    every = kind.mutations + kind.harmless
    mutation = every[i % len(every)]
    rng = np.random.default_rng([sum(kind.name.encode()), i])
    try:
        return mutation.__name__, mutation(base, rng)
    except (IndexError, KeyError, ValueError):      # nothing there to change
        return "drop_bytes", m.drop_bytes(base, rng)


def judge(kind: Kind, path: Path, harmless: bool) -> tuple[str, str]:
    """Outcome of one file, and what was said."""
    from bige.files import InputError
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found, said = kind.read(path), None
        except InputError as error:
            found, said = None, str(error)
        except Exception:
            return "traceback", traceback.format_exc()
        if time.process_time() - start > CPU_S:
            return "hang", f"{time.process_time() - start:.1f} s"
        if said is not None:
            return ("refused though right" if harmless else "refused"), said
        try:
            right = kind.reference(path)
        except references.Wrong as error:
            return "silently wrong", f"accepted, but: {error}"
        return ("right", "") if kind.same(found, right) else ("silently wrong", "read as something else")


def _work(pipe, folder: Path) -> None:
    "Judge files until told to stop. More processor time than is allowed ends the process."
    if sys.platform == "linux":         # others bound no address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while (asked := pipe.recv()) is not None:
        name, content, harmless = asked
        kind = KINDS[name]
        path = folder / name / kind.file
        path.write_bytes(content)
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limits = int(used + CPU_S) + 30, resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, limits)
        pipe.send(judge(kind, path, harmless))


class Worker:
    """A process that judges files, started again when it dies."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, None

    def start(self) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.folder), daemon=True)
        self.process.start()
        theirs.close()

    def __call__(self, name: str, content: bytes, harmless: bool) -> tuple[str, str]:
        """Outcome of one file."""
        if self.process is None or not self.process.is_alive():
            self.start()
        self.pipe.send((name, content, harmless))
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            ended = -(self.process.exitcode or 0)
            return ("hang" if ended == signal.SIGXCPU else "crash"), f"ended by signal {ended}"

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.is_alive():
            self.pipe.send(None)
            self.process.join()


def run(bases: dict[str, bytes], folder: Path, cases: dict[str, int], beside: dict[str, dict[str, bytes]]):
    """(kind, number, mutation, outcome, words) of the first `cases` of each kind; `beside`: files that lie
    there
    too."""
    worker = Worker(folder)
    for name in cases:
        (folder / name).mkdir()
        for file, content in beside.get(name, {}).items():
            (folder / name / file).write_bytes(content)
    try:
        for name, count in cases.items():
            (folder / name / KINDS[name].file).write_bytes(bases[name])
            worker(name, bases[name], True)         # imports what the reader needs
            outcome, words = worker(name, bases[name], True)
            assert outcome == "right", f"{name}, unchanged: {outcome}: {words}"
            for i in range(count):
                mutation, content = case(KINDS[name], bases[name], i)
                harmless = mutation in {h.__name__ for h in KINDS[name].harmless}
                yield name, i, mutation, *worker(name, content, harmless)
    finally:
        worker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def table(results) -> str:
    """The counts, a row for each input."""
    counts = Counter((KINDS[name].row, outcome) for name, _, _, outcome, _ in results)
    rows = list(dict.fromkeys(kind.row for kind in KINDS.values()))
    head = f"{'input':28}{'tried':>7}" + "".join(f"{o:>22}" for o in OUTCOMES)
    lines = [f"{row:28}{sum(counts[row, o] for o in OUTCOMES):7}" + "".join(f"{counts[row, o]:22}"
                                                                            for o in OUTCOMES)
             for row in rows]
    total = "".join(f"{sum(counts[row, o] for row in rows):22}" for o in OUTCOMES)
    return "\n".join([head, *lines, f"{'all':28}{len(results):7}{total}"])


def failures(results) -> str:
    """What went wrong, one each."""
    bad = [f"{name} {i} {mutation}: {outcome}: {words[-1500:]}" for name, i, mutation, outcome,
           words in results
           if outcome not in GOOD]
    return "\n\n".join(bad)
