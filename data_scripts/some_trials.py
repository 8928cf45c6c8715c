"""A few trials of a marker archive, evenly spread over participants, as an archive of its own.

    python data_scripts/some_trials.py ARCHIVE.npz COUNT OUT.npz [PATTERN]

COUNT: how many, or all. PATTERN: which trials, by name, as the shell would match files; all, unless given.
"""
import sys
from fnmatch import fnmatch

import numpy as np

from bige.files import InputError, atomic_write


def main(archive: str, count: str, out: str, pattern: str = "*") -> None:
    """Write the archive `out`."""
    with np.load(archive) as source:
        trials = sorted(name for name in source.files if name != "marker_names" and fnmatch(name, pattern))
        if not trials:
            raise InputError(archive, f"no trial named {pattern}", "names such as m01_s01_e01_cor",
                             "choose another pattern")
        some = len(trials) if count == "all" else int(count)
        kept = [trials[i] for i in np.unique(np.linspace(0, len(trials) - 1, some).astype(int))]
        arrays = {name: source[name] for name in ["marker_names", *kept]}
    with atomic_write(out, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
