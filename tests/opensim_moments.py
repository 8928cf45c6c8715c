"""Joint moments by OpenSim, for a process of its own, and motions to compare on."""
import numpy as np

from bige.motion import COORDINATES


def random_motion(frames: int) -> np.ndarray:
    """Coordinates, speeds and accelerations (frames, 3, 33); knees flexed and at rest."""
    rng, shape = np.random.default_rng(0), (frames, 33)
    q, qd, qdd = rng.uniform(-0.5, 0.5, shape), rng.normal(size=shape), 5 * rng.normal(size=shape)
    for side in "lr":
        k = COORDINATES.index(f"knee_angle_{side}")
        q[:, k], qd[:, k] = rng.uniform(0.1, 2.0, frames), 0
    return np.stack([q, qd, qdd], 1)


def opensim_inverse_dynamics(model_path, out, loads, coordinates, motion):
    import numpy as np, opensim as osim

    osim.Logger.setLevelString("error")

    def solve(added):
        model = osim.Model(model_path)
        for i in range(model.getForceSet().getSize()):
            model.updForceSet().get(i).set_appliesForce(False)
        for name, (mass, centre, inertia) in added.items():
            body = osim.Body("load_on_" + name, mass, osim.Vec3(*centre), osim.Inertia(*inertia))
            model.addBody(body)
            model.addJoint(osim.WeldJoint("weld_" + name, model.getBodySet().get(name), body))
        model.finalizeConnections()
        state = model.initSystem()
        handles, place = {}, {}
        for name in coordinates:
            handles[name] = [model.getCoordinateSet().get(name)]
            if name.startswith("knee") and model.getCoordinateSet().contains(name + "_beta"):
                handles[name].append(model.getCoordinateSet().get(name + "_beta"))
            for h in handles[name]:
                state.setU(osim.Vector(state.getNU(), 0.0))
                h.setSpeedValue(state, 1.0)
                place[h.getName()] = int(np.argmax(np.abs(state.getU().to_numpy())))
        solver, tau = osim.InverseDynamicsSolver(model), []
        for q, qd, qdd in motion:
            accelerations = osim.Vector(state.getNU(), 0.0)
            for i, name in enumerate(coordinates):
                for h in handles[name]:
                    h.setValue(state, q[i], False)
                    h.setSpeedValue(state, qd[i])
                    accelerations.set(place[h.getName()], qdd[i])
            forces = solver.solve(state, accelerations).to_numpy()
            tau.append([sum(forces[place[h.getName()]] for h in handles[name]) for name in coordinates])
        return tau

    np.save(out, [solve(added) for added in loads])
