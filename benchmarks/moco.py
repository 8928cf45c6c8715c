"""OpenSim Moco, the peer of our simulation, on one squat: one thread, its own process, figures as JSON.

    python benchmarks/moco.py inverse MODEL.osim COORDINATES.mot GRF.mot START END OUT.json [--intervals 50]
    python benchmarks/moco.py track   MODEL.osim COORDINATES.mot GRF.mot START END OUT.json [--iterations 1]

`inverse` (MocoInverse): joint angles and plate forces are given, only the muscles are sought. This is a
smaller problem than ours, which finds motion and ground forces too: what it takes to reach the same muscles
with force plates at hand. `track` (MocoTrack): our problem, with joint angles followed and forces from
contact spheres. Solving it takes hours, so it stops after `--iterations` and reports the CPU seconds of one.
Every muscle is a DeGrooteFregly2016Muscle, with a rigid tendon in `inverse`, a compliant one in `track`.

The plates' columns are `ground_force_<k>_v` (N), `_p` (m) and `_m` (N m), each with x, y, z; plate 1 is
under the right foot and plate 2 under the left one. opensim and casadi cannot share a process: import
nothing of this file elsewhere.
"""

import os

os.environ["OPENSIM_MOCO_PARALLEL"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import math
import resource
import tempfile
import time
from pathlib import Path

import opensim as osim

from bige.dynamics import Ground
from bige.files import atomic_write
from bige.skeleton import Skeleton

PLATES = {"ground_force_1": "calcn_r", "ground_force_2": "calcn_l"}
FILTER_HZ = 4.0  # squats; the reference of our own simulation is filtered alike
RESERVE = 10.0  # N or N m at full control
CPU = resource.RUSAGE_SELF


def cpu_seconds() -> float:
    used = resource.getrusage(CPU)
    return used.ru_utime + used.ru_stime


def muscled(model: Path, rigid_tendon: bool) -> osim.ModelProcessor:
    "The model with Moco's own muscles, a reserve on every coordinate that no torque actuator moves."
    steps = osim.ModelProcessor(str(model))
    steps.append(osim.ModOpReplaceMusclesWithDeGrooteFregly2016())
    steps.append(osim.ModOpIgnorePassiveFiberForcesDGF())
    if rigid_tendon:
        steps.append(osim.ModOpIgnoreTendonCompliance())
    else:
        steps.append(osim.ModOpTendonComplianceDynamicsModeDGF("implicit"))
    steps.append(osim.ModOpAddReserves(RESERVE))
    return steps


def plate_loads(forces: Path, folder: Path) -> Path:
    "External loads on both feet, as a file in `folder`."
    loads = osim.ExternalLoads()
    loads.setDataFileName(str(forces))
    for plate, body in PLATES.items():
        load = osim.ExternalForce()
        load.setName(plate)
        load.set_applied_to_body(body)
        load.set_force_expressed_in_body("ground")
        load.set_point_expressed_in_body("ground")
        load.set_force_identifier(f"{plate}_v")
        load.set_point_identifier(f"{plate}_p")
        load.set_torque_identifier(f"{plate}_m")
        loads.cloneAndAppend(load)
    loads.printToXML(str(folder / "plates.xml"))
    return folder / "plates.xml"


def filtered(coordinates: Path) -> osim.TableProcessor:
    "Joint angles with the smoothing of our own reference, named as states."
    table = osim.TableProcessor(str(coordinates))
    table.append(osim.TabOpLowPassFilter(FILTER_HZ))
    table.append(osim.TabOpUseAbsoluteStateNames())
    return table


def inverse(a) -> dict:
    "MocoInverse with plate forces, solved to the end."
    with tempfile.TemporaryDirectory() as folder:
        steps = muscled(a.model, rigid_tendon=True)
        steps.append(osim.ModOpAddExternalLoads(str(plate_loads(a.forces, Path(folder)))))
        tool = osim.MocoInverse()
        tool.setName("squat")
        tool.setModel(steps)
        tool.setKinematics(filtered(a.coordinates))
        tool.set_kinematics_allow_extra_columns(True)
        tool.set_initial_time(a.start)
        tool.set_final_time(a.end)
        tool.set_mesh_interval((a.end - a.start) / a.intervals)
        solved = tool.solve()  # owns the solution: keep it alive
    solution = solved.getMocoSolution()
    solution.unseal()  # readable even when it failed
    reserves = {
        name.rsplit("reserve_jointset_")[-1]: round(RESERVE * float(abs(solution.getControlMat(name)).max()),
                                                    1)
        for name in solution.getControlNames()
        if "reserve_" in name
    }
    return dict(status=solution.getStatus(), iterations=solution.getNumIterations(),
                largest_reserves=reserves)


def touching(model: osim.Model, source: Path, ground: Ground = Ground()) -> osim.Model:
    "The model on the floor y = 0 with our twelve spheres and our constants of contact."
    floor = osim.ContactHalfSpace(osim.Vec3(0), osim.Vec3(0, 0, -math.pi / 2), model.getGround(), "floor")
    model.addContactGeometry(floor)
    for sphere in Skeleton.from_osim(source).contacts:
        body = model.getBodySet().get(sphere.body)
        ball = osim.ContactSphere(sphere.radius, osim.Vec3(*map(float, sphere.location)), body, sphere.name)
        model.addContactGeometry(ball)
        force = osim.SmoothSphereHalfSpaceForce(f"contact_{sphere.name}", ball, floor)
        force.set_stiffness(ground.stiffness)
        force.set_dissipation(ground.dissipation)
        force.set_static_friction(ground.static_friction)
        force.set_dynamic_friction(ground.dynamic_friction)
        force.set_viscous_friction(ground.viscous_friction)
        force.set_transition_velocity(ground.transition_speed)
        force.set_hertz_smoothing(ground.hertz_smoothing)
        force.set_hunt_crossley_smoothing(ground.crossley_smoothing)
        force.set_constant_contact_force(ground.least_force)
        model.addForce(force)
    model.finalizeConnections()
    return model


def track(a) -> dict:
    "MocoTrack with contact spheres: CPU and wall seconds of one iteration, without what comes before."
    tool = osim.MocoTrack()
    tool.setName("squat")
    model = touching(muscled(a.model, rigid_tendon=False).process(), a.model)
    tool.setModel(osim.ModelProcessor(model))
    model.initSystem()
    reference = filtered(a.coordinates).process(model)
    reference.trim(a.start - 0.05, a.end + 0.05)  # Moco makes its guess of all rows, in quadratic time
    tool.setStatesReference(osim.TableProcessor(reference))
    tool.set_allow_unused_references(True)
    tool.set_track_reference_position_derivatives(True)
    tool.set_apply_tracked_states_to_guess(True)
    tool.set_states_global_tracking_weight(50)
    tool.set_control_effort_weight(100)
    tool.set_initial_time(a.start)
    tool.set_final_time(a.end)
    tool.set_mesh_interval((a.end - a.start) / a.intervals)
    study = tool.initialize()
    solver = osim.MocoCasADiSolver.safeDownCast(study.updSolver())
    solver.set_optim_finite_difference_scheme(
        "forward"
    )  # the cheapest that Moco has: one-sided differences, zeros
    solver.set_optim_sparsity_detection("random")  # of the Jacobian left out
    solver.set_optim_convergence_tolerance(1e-3)
    solver.set_optim_constraint_tolerance(1e-3)
    seconds = {}
    for iterations in 0, a.iterations:
        wall, cpu = time.perf_counter(), cpu_seconds()
        solver.set_optim_max_iterations(iterations)
        study.solve()
        seconds[iterations] = cpu_seconds() - cpu, time.perf_counter() - wall
    (cpu_0, wall_0), (cpu, wall) = seconds.values()
    return dict(status="stopped on purpose", iterations=a.iterations, cpu_s_before=round(cpu_0, 1),
                cpu_s_per_iteration=round((cpu - cpu_0) / a.iterations, 1),
                wall_s_per_iteration=round((wall - wall_0) / a.iterations, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("problem", choices=["inverse", "track"])
    for name in "model", "coordinates", "forces":
        parser.add_argument(name, type=lambda p: Path(p).resolve())
    parser.add_argument("start", type=float)
    parser.add_argument("end", type=float)
    parser.add_argument("out", type=Path)
    parser.add_argument("--intervals", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=1)
    a = parser.parse_args()
    wall, cpu = time.perf_counter(), cpu_seconds()
    figures = inverse(a) if a.problem == "inverse" else track(a)
    figures.update(problem=a.problem, intervals=a.intervals, start_s=a.start, end_s=a.end,
                   opensim=osim.GetVersion(), cpu_s=round(cpu_seconds() - cpu, 1),
                   wall_s=round(time.perf_counter() - wall, 1),
                   peak_gb=round(resource.getrusage(CPU).ru_maxrss * 1024 / 1e9, 2))
    with atomic_write(a.out) as file:
        json.dump(figures, file, indent=1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
