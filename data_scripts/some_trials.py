"""A few trials of a marker archive, evenly spread over people, as an archive of its own.

    python data_scripts/some_trials.py ARCHIVE.npz COUNT OUT.npz
"""
import sys

import numpy as np

from bige.motion import atomic_write


def main(archive: str, count: int, out: str) -> None:
    with np.load(archive) as source:
        trials = sorted(name for name in source.files if name != "marker_names")
        kept = [trials[i] for i in np.unique(np.linspace(0, len(trials) - 1, count).astype(int))]
        arrays = {name: source[name] for name in ["marker_names", *kept]}
    with atomic_write(out, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
