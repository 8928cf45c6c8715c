"""Samples of the prior beside generators without a network: far from recordings, near to people never seen?

    python benchmarks/prior.py [--exercises squat ...] [--vqvae FILE] [--out nbs/results/prior.csv]

A line an exercise and generator; of the prior with deviations as recorded or those of one more person,
and with or without the remainder: what the components leave of the repetition whose kernel a sample was
drawn from, added to it. Distances (deg), C_T, authenticity and asymmetry are those of 200
samples made from the six training participants, against the participants held out. Reach (%) is that of
1000 samples made from all participants but one, each left out in turn: how much nearer the nearest sample
is to the repetitions of that one than the nearest recording, mean over participants, and the least of
them. The prior is fitted again without the participant left out; the VQ-VAE is not trained again, and has
seen six of the eight. Plausible (%) is said of the 200 samples on the default skeleton, without the joint
stops and with them; acceleration is that of the centre of mass in plausible samples, as a share of the
recorded one. Everything else is measured within the stops."""

import argparse
import csv
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import torch

from bige.constraints import Batch
from bige.dataset import Dataset, mirror_arrays, reference, select
from bige.exercises import load_exercise, shipped_exercises
from bige.ground_contact import plant_feet
from bige.metrics import com_acceleration, leg_differences, motions_of
from bige.motion import ACTIVATIONS, COORDINATES, Motion
from bige.novelty import (COMPARED, INSTANTS, RecordedSet, novelty, phase_curves, reach_percent,
                          repetition_distance)
from bige.plausibility import Ranges, extremes, plausible, plausible_limits
from bige.prior import MotionPrior, joint_stops, one_more_person, prior_of, sample_prior, within_stops
from bige.skeleton import Skeleton
from bige.tables import table
from bige.vqvae import VQVAE, load_vqvae, smoother

ROOT = Path(__file__).resolve().parent.parent
MEASURES = ("nearest_deg", "nearest_low_deg", "c_t", "authentic_percent", "density", "coverage")
COLUMNS = ("exercise", "generator", "alike", "unlike", "smoothing", "one_more", "remainder", *MEASURES,
           "asymmetry_deg", "reach_percent", "reach_least_percent", "free_plausible_percent",
           "plausible_percent", "acceleration", "cpu_s")
SAMPLES, REACHING = 200, 1000
# components alike and unlike, smoothing, deviations of one more person or as recorded, remainder
EVEN = [(8, 16, 0.8, True, False), (8, 16, 0.8, False, False), (4, 8, 0.8, True, True)]
OF_SQUATS = [(8, 0, 1.0, True, False), (8, 16, 1.0, True, False), (8, 16, 0.6, True, False), *EVEN]
LED = [(16, 0, 0.8, True, False), (16, 0, 0.8, False, False), (8, 0, 0.8, True, True)]
Generator = Callable[[Dataset, int, int], np.ndarray]


def asymmetry_deg(curves: np.ndarray) -> float:
    "Root mean square of left minus right over instants and leg pairs, mean over curves (N, 64, 33), deg."
    return float(np.rad2deg(np.sqrt((leg_differences(curves) ** 2).mean((1, 2))).mean()))


def curves_of(K: np.ndarray, exercise: str) -> np.ndarray:
    "Motions (N, 196, 33) at equal phase (N, 64, 33)."
    return phase_curves([Motion.from_arrays(np.arange(len(q)) / 60, q) for q in K.astype(float)], exercise)


# generators: (repetitions to learn from, number, seed) -> curves (n, 64, 33)

def mirrored_or_not(curves: np.ndarray, data: Dataset, rng: np.random.Generator) -> np.ndarray:
    "The curves (n, 64, 33), half of them mirrored where no leg leads."
    if load_exercise(data.exercise).leading:
        return curves
    return np.where(rng.random((len(curves), 1, 1)) < 0.5, mirror_arrays(curves), curves)


def copier(data: Dataset, n: int, seed: int) -> np.ndarray:
    "Recorded repetitions."
    rng = np.random.default_rng(seed)
    curves = curves_of(data.kinematics, data.exercise)
    return mirrored_or_not(curves[rng.integers(len(curves), size=n)], data, rng)


def noisy(deg: float) -> Generator:
    "Recorded repetitions with random sums of four cosines over the phase, RMS `deg` over all angles."
    def samples(data: Dataset, n: int, seed: int) -> np.ndarray:
        rng, curves = np.random.default_rng(seed + 1000), copier(data, n, seed)
        cosines = np.cos(np.pi * np.arange(4)[:, None] * np.linspace(0, 1, INSTANTS))
        x = np.einsum("nck,kt->ntc", rng.standard_normal((n, len(COMPARED), 4)), cosines)
        columns = [COORDINATES.index(name) for name in COMPARED]
        curves[..., columns] += np.deg2rad(deg) * x / np.sqrt((x**2).mean((1, 2), keepdims=True))
        return curves
    return samples


def mixer(k: int) -> Generator:
    "Means of one repetition each of `k` participants, with weights drawn uniformly from the simplex."
    def samples(data: Dataset, n: int, seed: int) -> np.ndarray:
        rng, curves = np.random.default_rng(seed), curves_of(data.kinematics, data.exercise)
        rows = [np.flatnonzero(data.subjects == p) for p in sorted(set(data.subjects))]
        mixed = np.zeros((n, *curves.shape[1:]))
        for i, weights in enumerate(rng.dirichlet(np.ones(k), n)):
            chosen = [rng.choice(rows[p]) for p in rng.permutation(len(rows))[:k]]
            mixed[i] = np.einsum("k,ktd->td", weights, mirrored_or_not(curves[chosen], data, rng))
        return mixed
    return samples


@torch.no_grad()
def remainders(fitted: MotionPrior, data: Dataset, model: VQVAE, smoothing: float,
               factor: float) -> torch.Tensor:
    "What the components leave of the repetition of each kernel (M, C, S)."
    K = [data.kinematics]
    if not load_exercise(data.exercise).leading:
        K.append(mirror_arrays(data.kinematics))
    latents = torch.cat([model.encode(torch.as_tensor(k)) for k in K]).double()
    mean = fitted.weights @ fitted.means
    rows = mean + (fitted.means - mean) / (factor * (1 - smoothing**2) ** 0.5)
    return latents - fitted.centre - torch.einsum("nr,rcs->ncs", rows[:, :-2], fitted.components)


def drawn(setting: tuple, model: VQVAE, data: Dataset, n: int,
          seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    "Angles (n, 196, 33) of samples before joint stops, and durations (n,) s; the pelvis is not placed."
    alike, unlike, smoothing, one_more, remainder = setting
    people = len(set(data.subjects)) if one_more else 1
    fitted = prior_of(data, model, alike, unlike, smoothing, people=people)
    latents, duration, _ = sample_prior(fitted, n, torch.Generator().manual_seed(seed))
    if remainder:
        kernel = torch.multinomial(fitted.weights, n, True, generator=torch.Generator().manual_seed(seed))
        latents += remainders(fitted, data, model, smoothing, one_more_person(people))[kernel].float()
    with torch.no_grad():
        return torch.cat([smoother() @ model.angles(z) for z in latents.split(100)]), duration.float()


def prior(setting: tuple, model: VQVAE) -> Generator:
    "Samples of the prior within the joint stops."
    def samples(data: Dataset, n: int, seed: int) -> np.ndarray:
        angles, _ = drawn(setting, model, data, n, seed)
        stops = joint_stops(torch.as_tensor(data.kinematics), Skeleton.default())
        return curves_of(within_stops(angles, *stops).numpy(), data.exercise)
    return samples


def generators(exercise: str, model: VQVAE) -> dict[tuple, Generator]:
    "Generators by name and settings; no components are unlike where one leg leads."
    plain = {"copier": copier, "copier, noise of 4.5°": noisy(4.5), "mixer of 3": mixer(3)}
    even = OF_SQUATS if exercise == "squat" else EVEN
    settings = LED if load_exercise(exercise).leading else even
    return {(name,): g for name, g in plain.items()} | {("prior", *of): prior(of, model) for of in settings}


# measures

def left_out(data: Dataset, curves: np.ndarray, person: str) -> RecordedSet:
    "The recorded set with one participant held out alone."
    held = data.subjects == person
    return RecordedSet(curves[~held], data.subjects[~held], curves[held], data.subjects[held],
                       load_exercise(data.exercise))


def reaches(generator: Generator, data: Dataset, folds: dict[str, RecordedSet]) -> list[float]:
    "Reach (%) of 1000 samples for each participant, left out in turn."
    found = []
    for person, fold in folds.items():
        made = generator(select(data, data.subjects != person), REACHING, 0)
        to_samples = repetition_distance(fold.held_out, made, data.exercise)
        found.append(reach_percent(to_samples, fold.from_held_out, fold.held_out_subjects))
    return found


def row_of(curves: np.ndarray, recorded: RecordedSet, reach: list[float] | None) -> dict:
    "The measures of samples (N, 64, 33); reach may be missing: of the held-out repetitions themselves."
    value = novelty(curves, recorded, unseen=reach is not None)["value"]
    both_alike = recorded.exercise.leading is None
    return {key: value[key] for key in MEASURES} | {
        "asymmetry_deg": asymmetry_deg(curves) if both_alike else None,
        "reach_percent": reach and np.mean(reach), "reach_least_percent": reach and min(reach)}


def batch_of(angles: torch.Tensor, duration: torch.Tensor, exercise: str) -> Batch:
    "Motions (N, 196, 33) of the default skeleton, feet on the ground, activations unknown."
    q = plant_feet(angles, Skeleton.default(), smooth=smoother())
    return Batch(q, torch.zeros(*q.shape[:2], len(ACTIVATIONS)), Skeleton.default(),
                 (q.shape[1] - 1) / duration, exercise=load_exercise(exercise))


def recorded_ranges(data: Dataset) -> Ranges:
    "Extremes of the repetitions and, where no leg leads, of their mirror images."
    K = data.kinematics if load_exercise(data.exercise).leading else np.concatenate(
        [data.kinematics, mirror_arrays(data.kinematics)])
    duration = torch.as_tensor(np.resize(data.duration, len(K))).float()
    K = torch.as_tensor(K).float()
    return extremes(Batch(K, torch.zeros(*K.shape[:2], len(ACTIVATIONS)), Skeleton.default(),
                          (K.shape[1] - 1) / duration, exercise=load_exercise(data.exercise)))


def plausible_row(setting: tuple, model: VQVAE, train: Dataset, usual: float) -> dict:
    "Plausible shares (%), and the acceleration of plausible samples as a share of the `usual` one."
    angles, duration = drawn(setting, model, train, SAMPLES, 0)
    stops = joint_stops(torch.as_tensor(train.kinematics), Skeleton.default())
    limits = plausible_limits(recorded_ranges(train), Skeleton.default())
    free, held = (batch_of(q, duration, train.exercise) for q in (angles, within_stops(angles, *stops)))
    kept = plausible(limits, held)
    motions = [Motion.from_arrays(np.arange(len(q)) / hz, q)
               for q, hz in zip(held.q[kept].double().numpy(), held.rate_hz[kept].tolist())]
    return {"free_plausible_percent": 100 * plausible(limits, free).float().mean().item(),
            "plausible_percent": 100 * kept.float().mean().item(),
            "acceleration": float(np.mean([com_acceleration(m) for m in motions])) / usual}


def rows_of(data: Dataset, model: VQVAE) -> list[dict]:
    "One row a generator; first the recorded repetitions held out, and the asymmetry of all."
    recorded = RecordedSet.of(data)
    curves = curves_of(data.kinematics, data.exercise)
    folds = {p: left_out(data, curves, p) for p in sorted(set(data.subjects))}
    train = select(data, data.split == "train")
    ideal = row_of(recorded.held_out, recorded, None)
    if recorded.exercise.leading is None:
        ideal["asymmetry_deg"] = asymmetry_deg(curves)
    rows = [{"generator": "recorded"} | ideal]
    usual = float(np.mean([com_acceleration(m) for m in motions_of(data)]))
    for key, generator in generators(data.exercise, model).items():
        start = process_time()
        row = dict(zip(COLUMNS[1:7], key))
        row |= row_of(generator(train, SAMPLES, 0), recorded, reaches(generator, data, folds))
        if key[1:]:
            row |= plausible_row(key[1:], model, train, usual)
        rows.append(row | {"cpu_s": process_time() - start})
        print(table([rows[-1]]), file=sys.stderr, flush=True)
    return [{"exercise": data.exercise} | row for row in rows]


def written(value: object) -> object:
    "A number with four digits, yes or nothing, anything else as it is."
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{round(value, 6):.4g}" if isinstance(value, float) else value


def main() -> None:
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=rest)
    parser.add_argument("--exercises", nargs="+", default=list(shipped_exercises()))
    parser.add_argument("--vqvae", help="weights; default: the shipped ones")
    parser.add_argument("--out", type=Path, default=ROOT / "nbs" / "results" / "prior.csv")
    args = parser.parse_args()
    model = load_vqvae(args.vqvae)
    rows = [row for name in args.exercises for row in rows_of(reference(name), model)]
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: written(value) for key, value in row.items()} for row in rows)
    print(f"{len(rows)} rows -> {args.out}")


if __name__ == "__main__":
    main()
