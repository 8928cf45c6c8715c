"""Many trials: folders and sessions, worker processes, clusters, and what is left after a kill or an
interrupt."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import endless
from bige.cli import main
from bige.files import InputError, draft_folder, locked
from bige.motion import ACTIVATIONS, COORDINATES, analytic_squat, read_motion, write_motion
from bige import simulation
from bige.jobs import Here, Processes, WorkerDied, interruptible, work_through, workers
from bige.simulation import find_trials, motion_file, read_records, simulate_files
from conftest import living, until

FILES = ("ground_forces_spheres_{}.mot", "ground_forces_{}.mot", "kinetics_{}_muscle_driven.mot",
         "kinematics_activations_{}_muscle_driven.mot", "kinetics_{}_joint_loads.mot")


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, depth_deg=80, rate_hz=30)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Trials called endless... do not end at the first attempt; begun(trial) is the process that is at
    work on one, if it has begun."""
    (tmp_path / "begun").mkdir()
    monkeypatch.setenv("BIGE_TESTS_BEGUN", str(tmp_path / "begun"))
    monkeypatch.setattr("bige.simulation._attempt", endless.attempt)
    return lambda trial: endless.begun(tmp_path / "begun", trial)


def whole(folder, trials) -> bool:
    """All files of these trials are there and readable, and nothing else, hidden or not."""
    names = {f.format(t) for t in trials for f in FILES} | {"simulation.json"}
    assert {str(p.relative_to(folder)) for p in Path(folder).rglob("*")} == names
    for t in trials:
        assert read_motion(motion_file(folder, t)).names == COORDINATES + ACTIVATIONS
    return all(r["status"] == "Solve_Succeeded" for r in read_records(folder).values())


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def put(folder, **motions):
    """Write motions into a new folder."""
    folder.mkdir()
    for name, motion in motions.items():
        write_motion(motion, folder / f"{name}.mot")


def found(paths, model=None):
    return {t.name: t.model and t.model.name for t in find_trials(paths, model)}


# what a folder holds


def test_files_stand_for_themselves(tmp_path):
    touch(tmp_path, "a.mot", "b.sto", "model.osim")
    assert found([tmp_path / "a.mot", tmp_path / "b.sto"]) == {"a": "model.osim", "b": "model.osim"}
    assert found([tmp_path / "a.mot"], tmp_path / "model.osim") == {"a": "model.osim"}


def test_the_output_of_ik_gives_each_trial_its_own_person(tmp_path):
    touch(tmp_path, "m01_s01_e01.mot", "m01_s02_e01.mot", "s01.osim", "s02.osim")
    assert found([tmp_path]) == {"m01_s01_e01": "s01.osim", "m01_s02_e01": "s02.osim"}
    touch(tmp_path, "squat.mot")
    with pytest.raises(InputError, match="squat.mot.*--model"):
        find_trials([tmp_path])
    (tmp_path / "ik.json").write_text(
        json.dumps({"trials": {"squat": {"person": "s02", "file": "squat.mot"}}})
    )
    assert found([tmp_path])["squat"] == "s02.osim"
    assert set(found([tmp_path], tmp_path / "s01.osim").values()) == {"s01.osim"}


def test_a_file_given_alone_has_the_model_beside_it(tmp_path):
    touch(tmp_path, "three_rep1.mot", "anna.osim", "generated/sample_00.mot", "generated/old.osim")
    assert found([tmp_path / "three_rep1.mot"]) == {"three_rep1": "anna.osim"}
    (tmp_path / "generated/metrics.json").write_text('{"model": null}')
    assert found([tmp_path / "generated/sample_00.mot"]) == {"sample_00": None}
    (tmp_path / "generated/metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json"):
        find_trials([tmp_path / "generated/sample_00.mot"])


def test_one_folder_a_person(tmp_path):
    touch(tmp_path, "anna/squat1.mot", "anna/anna.osim", "bea/squat1.mot", "bea/deep/squat2.mot",
          "bea/bea.osim", "nobody/squat1.mot")
    assert found([tmp_path]) == {
        "anna/squat1": "anna.osim",
        "bea/squat1": "bea.osim",
        "bea/deep/squat2": "bea.osim",
        "nobody/squat1": None,
    }
    assert set(found([tmp_path / "anna", tmp_path / "bea"])) == {
        "anna/squat1",
        "bea/squat1",
        "bea/deep/squat2",
    }


def test_sessions(tmp_path):
    session = "OpenCapData_1/OpenSimData"
    touch(tmp_path, f"{session}/Kinematics/squats.mot", f"{session}/Kinematics/walk.mot",
          f"{session}/Model/LaiUhlrich2022_scaled.osim",
          f"{session}/Dynamics/squats/kinematics_activations_squats_muscle_driven.mot",
          "OpenCapData_1/MarkerData/squats.trc")
    assert found([tmp_path / "OpenCapData_1"]) == {
        "squats": "LaiUhlrich2022_scaled.osim",
        "walk": "LaiUhlrich2022_scaled.osim",
    }
    assert set(found([tmp_path])) == {"OpenCapData_1/squats", "OpenCapData_1/walk"}
    (tmp_path / session / "Model" / "LaiUhlrich2022_scaled.osim").unlink()
    with pytest.raises(InputError, match="--model"):
        find_trials([tmp_path])
    touch(tmp_path / "x", "OpenSimData/Model/m.osim", "MarkerData/squats.trc")
    with pytest.raises(InputError, match="bige ik"):
        find_trials([tmp_path / "x"])


def test_results_and_tables_without_coordinates_are_passed_over(tmp_path, squat):
    write_motion(squat, tmp_path / "squat.mot")
    touch(tmp_path, *(f.format("squat") for f in FILES), ".squat.mot.tmp", ".hidden.mot")
    (tmp_path / "plates.mot").write_text(
        "forces\nversion=1\nnRows=1\nnColumns=2\ninDegrees=yes\nendheader\ntime\tground_force_1_vy\n0\t1\n"
    )
    (tmp_path / "broken.mot").write_text("nothing\n")
    assert set(found([tmp_path])) == {"squat", "broken"}  # the broken one is refused by name later


def test_folders_without_motions_and_names_that_clash(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no motion"):
        find_trials([tmp_path / "empty"])
    with pytest.raises(InputError, match="same name a"):
        find_trials([tmp_path / "x" / "a.mot", tmp_path / "y" / "a.mot"])


# resuming


def test_trials_are_kept_and_resumed(squat, tmp_path):
    write_motion(squat, tmp_path / "a.mot")
    write_motion(squat.mirror(), tmp_path / "b.mot")
    (tmp_path / "broken.mot").write_text("nothing\n")
    paths, out = [tmp_path / f"{n}.mot" for n in ("a", "b", "broken", "missing")], tmp_path / "out"
    records = simulate_files(paths, out, jobs=2, mode="qp")
    assert [records[n]["status"] for n in ("a", "b", "broken", "missing")] == ["Solve_Succeeded"] * 2 + [
        "Refused"
    ] * 2
    assert "broken.mot" in records["broken"]["reason"] and not motion_file(out, "broken").exists()
    calls = []

    def run(**options):
        calls.clear()
        return simulate_files(paths[:2], out, mode="qp", done=lambda trial, record, finished,
                              total: calls.append((trial, finished, total)), **options)

    assert run()["b"] == read_records(out)["b"] and not calls
    motion_file(out, "b").unlink()
    run()
    assert calls == [("b", 2, 2)] and motion_file(out, "b").exists()
    write_motion(analytic_squat(reps=1, depth_deg=70, rate_hz=30), tmp_path / "a.mot")
    run()
    assert calls == [("a", 2, 2)] and set(read_records(out)) == {"a", "b", "broken", "missing"}
    for options in ({"cutoff_hz": 5.0}, {"end": 2.0}, {"preset": "gait"}):
        run(**options)
        assert len(calls) == 2, options


def test_one_folder_a_person_stays_so_in_the_results(squat, tmp_path):
    for person in ("anna", "bea"):
        (tmp_path / "in" / person).mkdir(parents=True)
        write_motion(squat, tmp_path / "in" / person / "squat1.mot")
    records = simulate_files([tmp_path / "in"], tmp_path / "out", mode="qp")
    assert set(records) == {"anna/squat1", "bea/squat1"} == set(read_records(tmp_path / "out"))
    assert (tmp_path / "out" / "bea" / "kinematics_activations_squat1_muscle_driven.mot").exists()
    from bige.dataset import find_simulations

    assert [p.parent.name for p in find_simulations([tmp_path / "out"])] == ["anna", "bea"]


def test_a_single_bad_trial_is_an_error_and_a_bad_model_is_one_for_all(squat, tmp_path):
    write_motion(squat.slice(0, 0.3), tmp_path / "short.mot")
    with pytest.raises(InputError, match="at least 0.50 s"):
        simulate_files([tmp_path / "short.mot"], tmp_path / "out", mode="qp")
    (tmp_path / "bad.osim").write_text("no model")
    write_motion(squat, tmp_path / "a.mot")
    with pytest.raises(InputError, match="bad.osim"):
        simulate_files([tmp_path / "a.mot", tmp_path / "short.mot"], tmp_path / "out",
                       model=tmp_path / "bad.osim", mode="qp")


def test_a_bad_person_costs_only_their_own_trials(squat, tmp_path):
    for person in ("anna", "bea"):
        (tmp_path / person).mkdir()
        write_motion(squat, tmp_path / person / "squat.mot")
    (tmp_path / "anna" / "anna.osim").write_text("no model")
    records = simulate_files([tmp_path / "anna", tmp_path / "bea"], tmp_path / "out", mode="qp")
    assert records["anna/squat"]["status"] == "Refused" and "anna.osim" in records["anna/squat"]["reason"]
    assert records["bea/squat"]["status"] == "Solve_Succeeded"


def test_leftovers_of_a_killed_process_are_swept(squat, tmp_path):
    old = tmp_path / "out" / ".partial-old"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 3600,) * 2)
    write_motion(squat, tmp_path / "a.mot")
    with draft_folder(tmp_path / "out") as new:         # of a command that is still at work
        simulate_files([tmp_path / "a.mot"], tmp_path / "out", mode="qp")
        assert not old.exists() and new.exists()


# worker processes


def test_never_more_at_once_than_there_are_workers():
    class Pool(Here):
        size, most = 3, 0

        def submit(self, task, function, *arguments):
            super().submit(task, function, *arguments)
            self.most = max(self.most, len(self.answers))

        def ready(self):
            task = next(iter(self.answers))
            return {task: self.answers.pop(task)}

    def load(task):
        if task == 4:
            raise InputError("4", "a", "b", "c")
        return (-10 * task,)

    pool = Pool()
    answers = dict(work_through(range(10), load, pool, abs))
    assert pool.most == 3 and len(answers) == 10 and answers[7] == 70
    assert isinstance(answers[4], InputError)


@pytest.mark.parametrize("jobs", [None, 1])
def test_an_exception_is_an_answer_and_the_rest_go_on(jobs):
    with workers(jobs) as pool:
        answers = dict(work_through(["7", "x"], lambda text: (text,), pool, int))
    assert answers["7"] == 7 and isinstance(answers["x"], ValueError)


def test_an_exception_that_does_not_travel_is_told_in_words():
    with workers(1) as pool:
        answer = dict(work_through([0], lambda task: (), pool, endless.raise_stubborn))[0]
    assert isinstance(answer, RuntimeError) and "Stubborn: deaf" in str(answer)


def test_workers_compute_with_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    with workers(jobs=2) as pool:
        answers = dict(work_through(names, lambda name: (name,), pool, os.getenv))
    assert answers == dict.fromkeys(names, "1")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_task_that_kills_its_worker_twice_is_given_up_and_the_rest_go_on():
    with Processes(2) as pool:
        pool.submit("bad", os._exit, 3)
        answers = {}
        while not answers:
            answers = pool.ready()
        assert isinstance(answers["bad"], WorkerDied) and "died twice" in str(answers["bad"])
        pool.submit("good", abs, -3)
        assert pool.ready() == {"good": 3}


def test_the_record_names_what_became_of_a_trial():
    assert simulation._outcome(WorkerDied("twice")) == {
        "status": "Failed", "reason": "its worker process died twice: killed, or out of memory"}
    assert simulation._outcome(ValueError("odd")) == {"status": "Failed", "reason": "ValueError: odd"}
    assert simulation._outcome(InputError("a", "b", "c", "d"))["status"] == "Refused"


def test_an_interrupt_while_a_trial_is_handed_over_leaves_no_worker():
    class Interrupted(dict):
        def __setitem__(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Processes(1) as pool:
        pool.running = Interrupted()
        pool.submit("endless", time.sleep, 600)
    until(lambda: not multiprocessing.active_children(), within=120)


@pytest.mark.parametrize("turned", [SystemError("result with an exception set"), RuntimeError(), None])
def test_an_interrupt_that_a_solver_turns_into_another_error_is_an_interrupt(turned):
    """Python 3.13: Ctrl-C inside CasADi can surface as SystemError, or be kept by the solver."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if turned:
                raise turned from None
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_errors_of_a_solver_stay_what_they_are():
    with pytest.raises(SystemError), interruptible():
        raise SystemError("no interrupt")


def test_a_lock_keeps_others_out_and_leaves_nothing_in_the_folder(tmp_path):
    order = []

    def second():
        with locked(tmp_path):
            order.append("second")

    with locked(tmp_path / "." if os.name == "posix" else tmp_path):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.3)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"] and not list(tmp_path.iterdir())


def test_all_workers_shot_one_in_the_middle_of_a_trial_and_one_idle(squat, begun, tmp_path):
    put(tmp_path / "in", a=squat, b=squat, c=squat, endless=squat)
    shot = []

    def shoot():
        until(lambda: motion_file(tmp_path / "out", "c").exists() and begun("endless"))
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            shot.append(child.pid)

    gunman = threading.Thread(target=shoot)
    gunman.start()
    records = simulate_files([tmp_path / "in"], tmp_path / "out", mode="qp", jobs=2)
    gunman.join()
    assert (
        len(shot) == 2
        and begun("endless") in shot
        and whole(tmp_path / "out", ("a", "b", "c", "endless"))
        and len(records) == 4
    )


# the command, stopped

COMMAND = """import sys
import bige.simulation, endless
bige.simulation._attempt = endless.attempt
from bige.cli import main
sys.exit(main())"""


@pytest.fixture
def start(tmp_path):
    """Starts `bige simulate` with the motions in tmp_path / in; whatever it started is gone when the test
    is over."""
    started = []

    def command(*arguments):
        line = [
            sys.executable,
            "-c",
            COMMAND,
            "simulate",
            str(tmp_path / "in"),
            "--mode",
            "qp",
            "--out",
            str(tmp_path / "out"),
            *arguments,
        ]
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        started.append(
            subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True, env=os.environ | {"PYTHONPATH": paths})
        )
        return started[0]

    yield command
    for process in started:
        if process.pid in living().values():
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "stop, jobs",
    [
        (signal.SIGINT, "1"),
        pytest.param(signal.SIGTERM, "1", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "2", marks=pytest.mark.slow),
        (signal.SIGTERM, "2"),
        (signal.SIGKILL, "2"),
    ],
)
def test_an_interrupted_command_loses_nothing(stop, jobs, squat, begun, start, tmp_path):
    trials = ["a", "endless_b", "endless_c"][: 1 + int(jobs)]
    put(tmp_path / "in", **dict.fromkeys(trials, squat))
    process = start("--jobs", jobs)
    until(
        lambda: process.poll() is not None or begun(trials[-1])
    )  # the last one begins when the first is finished
    process.send_signal(stop)
    _, said = process.communicate(timeout=300)
    assert begun(trials[-1]), said  # else it ended by itself
    if stop != signal.SIGKILL:
        assert (
            process.returncode == 130
            and said.count("\n") == 1
            and "an interrupt after 1 trial" in said
            and "run the same command again" in said
        )
    until(lambda: process.pid not in living().values())  # no worker is left
    assert whole(tmp_path / "out", ("a",))


# the command's answer


def test_the_table_tells_what_failed_and_the_status_says_so(squat, tmp_path, capsys):
    put(tmp_path / "in", good=squat, short=squat.slice(0, 0.3))
    line = ["simulate", str(tmp_path / "in"), "--mode", "qp", "--out", str(tmp_path / "out")]
    assert main(line) == 2
    said = capsys.readouterr()
    head, good, short, written = said.out.strip().split("\n")
    assert head.split() == ["trial", "status", "model", "kg", "suspicions", "iterations", "CPU",
                            "s", "GB", "reason"]
    assert (
        good.split()[:2] == ["good", "Solve_Succeeded"] and "75.3" in good and str(len(squat.time)) in good
        and "Refused" in short
        and "0.50 s" in short
        and "written to" in written
    )
    assert said.err.count("\n") == 1 and "1 of 2 trials" in said.err and said.err.count("Cure") == 1
    assert main([*line, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["short"]["status"] == "Refused"
    (tmp_path / "in" / "short.mot").unlink()
    assert main(line) == 0 and capsys.readouterr().err == ""


def test_options_that_exclude_each_other(capsys):
    assert main(["simulate", "a.mot", "--out", "x", "--jobs", "2", "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert "--cluster" in capsys.readouterr().err


# a cluster


def test_no_scheduler_at_the_address(squat, tmp_path, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda *_,
                        **__: (_ for _ in ()).throw(OSError("Timed out trying to connect")))
    write_motion(squat, tmp_path / "a.mot")
    assert (
        main(
            [
                "simulate",
                str(tmp_path / "a.mot"),
                "--mode",
                "qp",
                "--cluster",
                "tcp://10.0.0.1:1",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert (
        "tcp://10.0.0.1:1" in said
        and "dask scheduler" in said
        and said.count("\n") == 1
        and not (tmp_path / "out").exists()
    )


def test_a_cluster_whose_worker_is_shot_in_the_middle_of_a_trial(squat, begun, tmp_path):
    distributed = pytest.importorskip("distributed")
    put(tmp_path / "in", a=squat, c=squat, endless=squat, short=squat.slice(0, 0.3))

    def shoot():
        until(lambda: motion_file(tmp_path / "out", "a").exists() and begun("endless"))
        os.kill(begun("endless"), signal.SIGKILL)

    gunman = threading.Thread(target=shoot)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                                  silence_logs=50) as cluster:
        gunman.start()
        records = simulate_files([tmp_path / "in"], tmp_path / "out", mode="qp",
                                 cluster=cluster.scheduler_address)
        gunman.join()
    assert begun("endless") and not motion_file(tmp_path / "out", "short").exists()
    assert {t: r["status"] for t, r in records.items()} == {
        "a": "Solve_Succeeded",
        "c": "Solve_Succeeded",
        "endless": "Solve_Succeeded",
        "short": "Refused",
    }
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")} == {
        f.format(t) for t in ("a", "c", "endless") for f in FILES
    } | {"simulation.json"}
    assert np.array_equal(read_motion(motion_file(tmp_path / "out", "endless")).values,
                          read_motion(motion_file(tmp_path / "out", "c")).values)
