"""The files that are mutated: small, and made by bige from what it ships, so that the harness needs nothing
else."""
import io
import json
from pathlib import Path

import numpy as np


def _motion(folder: Path, activations: bool = False) -> bytes:
    from bige.motion import ACTIVATIONS, Motion, example_squat, write_motion
    squat = example_squat()
    short = Motion(squat.time[::4], squat.values[::4], squat.names)
    if activations:
        knee = np.clip(short["knee_angle_r"] / 3, 0, 1)
        short = Motion.from_arrays(short.time, short.coordinates(),
                                   np.repeat(knee[:, None], len(ACTIVATIONS), 1))
    else:
        short = Motion.from_arrays(short.time, short.coordinates())
    write_motion(short, folder / "a.mot")
    return (folder / "a.mot").read_bytes()


def _markers():
    from bige.markers import UI_PRMD_MARKERS
    from bige.motion import example_squat
    from bige.skeleton import Skeleton
    squat = example_squat()
    return squat.time[::8], Skeleton.default().marker_positions(squat.coordinates()[::8], UI_PRMD_MARKERS)


def _trc(folder: Path) -> bytes:
    from bige.markers import UI_PRMD_MARKERS, Markers, write_trc
    time, positions = _markers()
    positions = positions.copy()
    positions[3:5, 7] = np.nan
    write_trc(Markers(time, positions, UI_PRMD_MARKERS), folder / "a.trc")
    return (folder / "a.trc").read_bytes()


def _prmd() -> bytes:
    _, p = _markers()
    rows = np.stack([p[..., 0], -p[..., 2], p[..., 1]], -1).reshape(len(p), -1) * 1000
    return "".join(",".join(f"{v:.5f}" for v in row) + "\n" for row in rows).encode()


def _arrays(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _archive() -> bytes:
    from bige.markers import UI_PRMD_MARKERS
    _, p = _markers()
    trial = np.stack([p[..., 0], -p[..., 2], p[..., 1]], -1) * 1000
    return _arrays(marker_names=np.array(UI_PRMD_MARKERS), a=trial.astype(np.float32),
                   b=np.round(trial * 10).astype(np.int32))


def _model(folder: Path) -> bytes:
    from bige.inverse_kinematics import write_osim
    from bige.skeleton import Skeleton
    write_osim(Skeleton.default(), folder / "a.osim")
    return (folder / "a.osim").read_bytes()


REQUEST = """# a request
constraints:
  - {kind: knee_depth, low: 80, high: 100, at: bottom, weight: 1}
  - {kind: muscle, muscle: soleus_l, high: 40 %, at: peak, weight: 2.5}
  - kind: trunk_lean
    high: 35 deg
  - {kind: tempo, phase: descent, target: 1.5 s}
  - {kind: heel_contact, high: 1, at: all}
  - {kind: asymmetry, weight: 1e-1}
"""
METADATA = """iphoneModel:
  Cam0: iPad8,9
  Cam1: iPhone14,2
height_m: 1.78
mass_kg: 72.5
subjectID: '07'
openSimModel: LaiArnoldModified2017_poly_withArms_weldHand
checkerBoard: {black2whiteCornersHeight_n: 4, squareSideLength_mm: 35.0}
"""


def _dataset(folder: Path) -> bytes:
    from bige.dataset import save_dataset, toy_dataset
    save_dataset(toy_dataset(participants=3, repetitions=1), folder / "d.npz")
    return (folder / "d.npz").read_bytes()


def as_version_01(data) -> dict[str, np.ndarray]:
    """The arrays of a file of version 0.1: frames at 60 Hz, fewer a second where 196 are not enough, the last
    one held, and a mask of those that were recorded."""
    from bige.dataset import FRAMES, RATE_HZ
    from bige.motion import ACTIVATIONS, COORDINATES
    count = np.minimum(np.round(data.duration * RATE_HZ).astype(int) + 1, FRAMES)
    stretch = np.where(count < FRAMES, 1.0, data.duration * RATE_HZ / (FRAMES - 1))
    held = np.arange(FRAMES)
    rows = [np.linspace(0, FRAMES - 1, n).round().astype(int)[held.clip(0, n - 1)] for n in count]
    old = {k: np.stack([x[i] for x, i in zip(getattr(data, k), rows)]) for k in ("kinematics", "activations")}
    return old | {"mask": np.arange(FRAMES) < count[:, None], "stretch": stretch.astype(np.float32),
                  "subjects": data.subjects, "trials": data.trials, "split": data.split, "mass": data.mass,
                  "side": data.side, "names": np.array(COORDINATES + ACTIVATIONS),
                  "rate_hz": np.float64(RATE_HZ), "exercise": np.array(data.exercise)}


def _old_dataset() -> bytes:
    from bige.dataset import toy_dataset
    return _arrays(**as_version_01(toy_dataset(participants=3, repetitions=1)))


def _weights(folder: Path) -> dict[str, bytes]:
    import torch
    from bige.surrogate import PublishedSurrogate, Surrogate, SurrogateConfig, save_surrogate
    from bige.vqvae import VQVAE, VQConfig, save_vqvae
    torch.manual_seed(0)
    save_surrogate(Surrogate(SurrogateConfig(width=4, members=2, dilations=(1,))), folder / "s.safetensors")
    small = VQConfig(width=8, code_dim=4, depth=1, codes=8, levels=2)
    save_vqvae(VQVAE(small, learns=False), folder / "v.safetensors")
    torch.save(PublishedSurrogate().state_dict(), folder / "p.pth")
    return {"published": (folder / "p.pth").read_bytes(),
            "surrogate": (folder / "s.safetensors").read_bytes(),
            "vqvae": (folder / "v.safetensors").read_bytes()}


SIMULATION = {"trial": "t", "status": "Solve_Succeeded", "reason": None, "body_weight_n": 700.5,
              "model": "t.osim",
              "preset": "squat", "rms_deg": 1.2, "residuals": {"force_n": 3.0, "worst": ["pelvis_ty"]}}
IK = {"persons": {"walk": {"model": "walk.osim", "mass_kg": 70.0,
                          "marker_offsets": {"LASI": [0.0, 0.0, 0.01]}}},
      "trials": {"a": {"file": "walk.mot", "person": "walk", "rms_mm": 7.5, "frames": 120}}}
METRICS = {"method": "guided", "seed": 3, "n": 1, "satisfied": 1, "shortfalls": [], "exercise": "squat",
           "model": None, "like": None, "verified": {"mode": "qp", "requested": 2, "passed": 1},
           "apart_deg": 8.0,
           "inputs": {"vqvae": "abc"}, "changes": [{"knee": 1.0}],
           "samples": [{"file": "sample_00.mot", "satisfied": True, "steps": 20,
                        "constraints": {"knee_depth": {"metric": 90.0, "unit": "deg", "satisfied": True}}}],
           "mean": {"depth_deg": 90.0}, "sd": {"depth_deg": 1.0}, "set": {"recall": 0.5}}


def bases(folder: Path) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """Content by kind, and what lies beside it, by file name."""
    from bige.constraint_files import default_constraints, to_yaml
    from bige.exercises import shipped_exercises
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).normal(size=(5, 22, 3)))
    motion, model = _motion(folder), _model(folder)
    made = {"mot": motion, "trc": _trc(folder), "prmd": _prmd(), "markers": _archive(), "osim": model,
            "request": REQUEST.encode(), "set": b"muscle_range.high: 0.45".replace(b": ", b"="),
            "exercise": shipped_exercises()["squat"].read_bytes(), "metadata": METADATA.encode(),
            "dataset": _dataset(folder), "dataset_01": _old_dataset(), "npy": out.getvalue(),
            **_weights(folder),
            "simulation": json.dumps(SIMULATION).encode(), "ik": json.dumps(IK).encode(),
            "metrics": json.dumps(METRICS).encode()}
    sample, request = _motion(folder, activations=True), to_yaml(default_constraints()).encode()
    beside = {"simulation": {"t_muscle_driven.mot": sample}, "metadata": {"trial.trc": made["trc"]},
              "ik": {"walk.osim": model, "run.osim": model, "walk.mot": motion},
              "metrics": {"sample_00.mot": sample, "constraints.yaml": request}}
    return made, beside
