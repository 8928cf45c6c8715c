"""Batched kinematics against a loop over frames with nimblephysics, one thread, 20 motions of 196 frames.

    .venv-nimble/bin/python benchmarks/kinematics.py [MODEL.osim]   (make test-nimble makes that environment)

Without a model: Rajagopal2015 from the nimblephysics wheel. Times are the best of several repeats, value and
gradient together, in float64 (as nimblephysics) and in float32 (as guidance runs). The joint-centre loss is
the same function on both sides, so values and gradients must agree. The foot loss is what each side offers:
the lowest mesh point of every frame there; soft lowest contact point, ground height and sliding speed here.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from pathlib import Path

import nimblephysics
import numpy as np
import torch

from bige.files import InputError
from bige.motion import COORDINATES, analytic_squat
from bige.ground_contact import sliding_speed, soft_lowest
from bige.skeleton import Skeleton

MOTIONS, FRAMES, RATE_HZ = 20, 196, 60.0
WHEEL_MODEL = Path(nimblephysics.__file__).parent / "models" / "rajagopal_data" / "Rajagopal2015.osim"


def best_ms(work, repeats: int, warm_up: int) -> float:
    """Least CPU time of `work()` in ms: time that other programs take does not count."""
    seconds = []
    for k in range(warm_up + repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds[warm_up:])


def squats(ranges: np.ndarray) -> np.ndarray:
    """(20, 196, 33) squats of different depth, every joint a little disturbed, within the model's ranges:
    beyond the last knot of a knee spline nimblephysics goes on as a cubic, OpenSim and we as a straight
    line."""
    rng = np.random.default_rng(0)
    poses = []
    for depth_deg in np.linspace(60, 115, MOTIONS):
        squat = analytic_squat(reps=2, rate_hz=RATE_HZ, depth_deg=depth_deg).coordinates()[:FRAMES]
        poses.append(squat + 0.05 * rng.standard_normal(len(COORDINATES)))
    return np.clip(poses, *ranges.T)


class Nimble:
    """The per-frame peer: the model's own order of coordinates, those beyond the 33 held at 0."""

    def __init__(self, model: Path):
        geometry = model.parent / "Geometry"
        parsed = nimblephysics.biomechanics.OpenSimParser.parseOsim(
            str(model.resolve()),
            str(geometry if geometry.is_dir() else WHEEL_MODEL.parent / "Geometry") + "/")
        self.skeleton = parsed.skeleton
        names = [self.skeleton.getDofByIndex(i).getName() for i in range(self.skeleton.getNumDofs())]
        self.columns = [names.index(c) for c in COORDINATES]
        self.size = len(names)

    def set(self, pose: np.ndarray) -> None:
        full = np.zeros(self.size)
        full[self.columns] = pose
        self.skeleton.setPositions(full)

    def joint_loss(self, poses, target, joint_names):
        """Mean squared distance of joint centres to targets, and its gradient, one frame after another."""
        joints = [self.skeleton.getJoint(name) for name in joint_names]
        value, gradient = 0.0, np.zeros_like(poses)
        for i, pose in enumerate(poses):
            self.set(pose)
            gap = self.skeleton.getJointWorldPositions(joints) - target[i].ravel()
            jacobian = self.skeleton.getJointWorldPositionsJacobianWrtJointPositions(joints)
            value += gap @ gap
            gradient[i] = 2 * (gap @ jacobian)[self.columns]
        return value / target.size, gradient / target.size

    def foot_loss(self, poses):
        """Mean height of the lowest mesh point, and its gradient, one frame after another."""
        value, gradient = 0.0, np.zeros_like(poses)
        for i, pose in enumerate(poses):
            self.set(pose)
            value += self.skeleton.getLowestPoint()
            gradient[i] = self.skeleton.getGradientOfLowestPointWrtJoints()[self.columns]
        return value / len(poses), gradient / len(poses)


def with_gradient(loss, poses: torch.Tensor):
    poses = poses.clone().requires_grad_(True)
    value = loss(poses)
    value.backward()
    return value.item(), poses.grad


def foot_loss(skeleton: Skeleton, poses: torch.Tensor) -> torch.Tensor:
    """Height of the soft lowest point above the ground, squared, and sliding speed, over all frames."""
    points = skeleton.contact_points(poses)
    ground = points[..., 1].amin(-1).median(-1).values
    return (soft_lowest(points)[..., 1] - ground[:, None]).square().mean() + sliding_speed(
        points, RATE_HZ, ground).mean()


def main() -> None:
    torch.set_num_threads(1)
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else WHEEL_MODEL
    try:
        skeleton = Skeleton.from_osim(model)
    except InputError as error:
        sys.exit(str(error))
    peer, poses = Nimble(model), squats(skeleton.ranges)
    flat = poses.reshape(-1, len(COORDINATES))
    target = skeleton.joint_centres(poses + 0.1 * np.random.default_rng(1).standard_normal(poses.shape))
    aims = {dtype: torch.tensor(target, dtype=dtype) for dtype in (torch.float64, torch.float32)}

    def joint_loss(q):
        return (skeleton.joint_centres(q) - aims[q.dtype]).square().mean()

    value, gradient = with_gradient(joint_loss, torch.tensor(poses))
    peer_value, peer_gradient = peer.joint_loss(flat, target.reshape(len(flat), -1), skeleton.joint_names)
    apart = (
        abs(gradient.reshape(peer_gradient.shape).numpy() - peer_gradient).max() / abs(peer_gradient).max()
    )
    print(f"model {model.name}, {MOTIONS} x {FRAMES} frames, value and gradient, one thread, CPU ms")
    off = abs(value / peer_value - 1)
    print(f"joint-centre loss: relative difference of value {off:.0e}, of gradient {apart:.0e}")
    assert off < 1e-9 and apart < 1e-9

    peer_ms = {
        "joint centres": best_ms(
            lambda: peer.joint_loss(flat, target.reshape(len(flat), -1), skeleton.joint_names), 3, 0),
        "feet": best_ms(lambda: peer.foot_loss(flat), 3, 0),
    }
    print(f"{'loss':14} {'type':8} {'nimblephysics':>14} {'batched':>9} {'ratio':>7} {'target':>7}")
    for name, loss, aim in (("joint centres", joint_loss, 25),
                            ("feet", lambda q: foot_loss(skeleton, q), 100)):
        for dtype in (torch.float64, torch.float32):
            q = torch.tensor(poses, dtype=dtype)
            ms = best_ms(lambda: with_gradient(loss, q), 15, 5)
            ratio = peer_ms[name] / ms
            print(f"{name:14} {str(dtype)[6:]:8} {peer_ms[name]:14.0f} {ms:9.1f} {ratio:6.0f}x {aim:6}x")


if __name__ == "__main__":
    main()
