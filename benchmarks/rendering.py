"""How long pictures take.

    python benchmarks/rendering.py    # film of 196 frames, strip, picture, page, panel of 20, a live motion

prints wall-clock and processor seconds of each, reading and preparing included, and its target if it has one.
Processor seconds count the drawing threads; ffmpeg, which encodes while we draw, is counted too.
"""

import os
import tempfile
import time
from pathlib import Path

from bige.motion import example_squat, write_motion
from bige.report import render_files
from bige.viewer import scene

TARGETS = {"film.mp4": 30, "strip.png": 5, "live": 1}


def clock(work) -> tuple[float, float]:
    "Wall-clock and processor seconds of a piece of work, its child processes included."
    wall, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def main() -> None:
    motion = example_squat()
    motion = motion.resample(195 / motion.duration)
    print(
        f"{len(motion.time)} frames, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
        f"{'what':<14}{'wall (s)':>10}{'cpu (s)':>10}{'target (s)':>12}"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "squat.mot")
        write_motion(motion, file)
        jobs = {
            "strip.png": ([file], "strip"),
            "picture.png": ([file], "scene"),
            "film.mp4": ([file], "scene"),
            "three.mp4": ([file] * 3, "scene"),
            "film.gif": ([file], "scene"),
            "page.html": ([file], "scene"),
            "panel.png": ([file] * 20, "panel"),
        }
        rows = {
            name: (lambda name=name, files=files, style=style: render_files(files, Path(folder, name), style))
            for name, (files, style) in jobs.items()
        }
        live = scene([motion])
        rows["live"] = lambda: live.replace(motion)
        for name, work in rows.items():
            wall, cpu = clock(work)
            size = f"{Path(folder, name).stat().st_size / 1e3:8.0f} kB" if Path(folder, name).exists() else ""
            print(f"{name:<14}{wall:>10.2f}{cpu:>10.2f}{TARGETS.get(name, ''):>12}{size}", flush=True)


if __name__ == "__main__":
    main()
