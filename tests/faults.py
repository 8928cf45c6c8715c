"""A process that is killed, or whose disk fails, at its n-th operation on files: what `test_faults` tries for
every n."""

import errno
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bige.files import sweep

KILLED, FAILED, BROKEN = 137, 3, 4
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Fault:
    """Counts what this process does to files below `root`, and strikes before the n-th: 'kill' ends the
    process at once, as kill -9 does (what Python still holds in buffers is lost); 'full' raises the error of
    a disk without room."""
    def __init__(self, root: Path, n: int, how: str):
        self.root, self.left, self.how, self.what = str(root), n, how, None

    def arm(self) -> None:
        fsync = os.fsync

        def counted_fsync(descriptor: int) -> None:
            self.count("os.fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)
        os.fsync = counted_fsync
        sys.addaudithook(self.hear)         # it cannot be taken away: only in a process that ends

    def hear(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not isinstance(path, int):
                self.count(event, path)
        elif event in CHANGES:
            self.count(event, arguments[1] if event in ("os.rename", "os.link") else arguments[0])

    def count(self, event: str, path) -> None:
        path = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if not path.startswith(self.root):
            return
        self.left -= 1
        if self.left == 0 and self.how == "kill":
            os._exit(KILLED)
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path if event != "os.fsync" else None)


def in_a_process(work: Callable[[], object]) -> int:
    """The exit status of a fork of this process that does `work`: 0, `KILLED`, `FAILED` with a message that
    names a file, or `BROKEN` by any other exception."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = BROKEN
    try:
        work()
        status = 0
    except (OSError, ValueError) as error:
        named = getattr(error, "where", getattr(error, "filename", None))
        status = FAILED if named and os.sep in str(named) else BROKEN
        if status == BROKEN:
            traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


@dataclass(frozen=True)
class Case:
    """What is written: `begin(folder)` prepares what lies there before, `work(folder)` writes; `same(name,
    bytes)` is what has to agree of a file, None: nothing."""
    begin: Callable[[Path], object]
    work: Callable[[Path], object]
    same: Callable[[str, bytes], object] = lambda name, content: content


def content(folder: Path, same: Callable) -> dict[str, object]:
    found = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    found = {name: same(name, p.read_bytes()) for name, p in found.items()}
    return {name: value for name, value in found.items() if value is not None}


HIDDEN = re.compile(r"(^|/)\.")


def visible(files: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in files.items() if not HIDDEN.search(name)}


def try_every(case: Case, root: Path, how: str, states: Callable | None = None, step: int = 1) -> int:
    """Strikes at each (`step`-th) operation; returns how many there were. Afterwards a reader finds the old
    or the new files (or what `states(files)` allows), and the next run ends like an undisturbed one."""
    former, place = root / "former", root / "work"
    former.mkdir()
    case.begin(former)
    begun = root / "tmp"
    begun.mkdir()
    tempfile.tempdir = str(begun)           # in forks and here: locks and scratch folders
    try:
        return _try_every(case, former, place, how, states, step)
    finally:
        tempfile.tempdir = None


def _try_every(case, former, place, how, states, step) -> int:
    old = content(former, case.same)
    shutil.copytree(former, place)
    assert in_a_process(lambda: case.work(place)) == 0
    new = content(place, case.same)
    assert not [name for name in new if HIDDEN.search(name)] and new != old
    n = 1
    while True:
        shutil.rmtree(place)
        shutil.copytree(former, place)

        def struck() -> None:
            Fault(place, n, how).arm()
            case.work(place)
        status = in_a_process(struck)
        assert status in (0, KILLED, FAILED), (n, status)
        if how == "kill":
            sweep(place, deep=True)         # as the next command that reads or writes there
        found = visible(content(place, case.same))
        allowed = found in (old, new) if states is None else states(found)
        assert allowed, (n, how, {k: "old" * (found[k] == old.get(k)) + "new" * (found[k] == new.get(k))
                                  for k in found})
        assert in_a_process(lambda: case.work(place)) == 0, n
        again = content(place, case.same)
        assert again == new, (n, how, sorted(set(again) ^ set(new)),
                              [k for k in again if again[k] != new.get(k)])
        if status == 0 and how == "kill":
            return n - 1
        if status == 0 and found == new and n > 400:
            raise AssertionError("no end")
        if status == 0 and _finished(case, former, place, n, how):
            return n - 1
        n += step


def _finished(case, former, place, n, how) -> bool:
    """Whether a run has fewer operations than n: an error at the n-th may have been ignored."""
    shutil.rmtree(place)
    shutil.copytree(former, place)

    def counted() -> None:
        fault = Fault(place, n, how)
        fault.arm()
        case.work(place)
        os._exit(0 if fault.left > 0 else FAILED)
    return in_a_process(counted) == 0
