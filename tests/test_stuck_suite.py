"""The suite of stuck runs: its scores, its splits, and that a planted run is made and asked about."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import unstuck as us

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def suite(monkeypatch):
    """Loads a module of bench.stuck from the source tree."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.stuck.{name}")


def test_wilson_interval(suite):
    # Newcombe (1998), table I: 81 of 263 and 0 of 20
    low, high = suite("score").wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = suite("score").wilson(0, 20)
    assert low == 0.0 and round(high, 4) == 0.1611


def test_splits_share_neither_tasks_nor_seeds(suite):
    tasks, examine = suite("tasks"), suite("examine")
    names = [task.name for task in tasks.TASKS]
    assert len(set(names)) == len(names) and {task.split for task in tasks.TASKS} == {"calibration", "test"}
    assert examine.FIRST_SEED["test"] - examine.FIRST_SEED["calibration"] >= 1000


def test_every_cause_of_the_suite_exists(suite):
    faults, healthy = suite("faults").FAULTS, suite("healthy").HEALTHY
    for plan in (*faults, *healthy):
        assert all(hasattr(us.Cause, cause) for cause in plan.causes.split()), plan.name
        assert plan.faulty == (plan in faults)


def test_one_of_each_is_made_and_asked(suite, capsys):
    assert suite("__main__").main(["--seeds", "1", "--only", "no update yet", "--budget", "0.5"]) == 0
    text = capsys.readouterr().out
    assert "false alarms (healthy runs)" in text and "0/12" in text


def test_splits_are_wide_and_every_fault_is_on_six_tasks_of_both(suite):
    tasks, faults = suite("tasks"), suite("faults").FAULTS
    for split in ("calibration", "test"):
        assert sum(task.split == split for task in tasks.TASKS) == 6
    causes = {plan.causes.split()[0] for plan in faults}
    assert len(causes) >= 12
    for plan in faults:
        assert sum(plan.fits(task) for task in tasks.TASKS) >= 6, plan.name


def test_jobs_of_the_splits_share_no_seed_and_are_as_many_healthy_as_faulty(suite):
    examine = suite("examine")
    seeds = {}
    for split in ("calibration", "test"):
        jobs = examine.jobs_of(split, 3, "", None, quick=False)
        seeds[split] = {job[2] for job in jobs}
        faulty = sum(examine.find(*job[:2])[1].faulty for job in jobs)
        assert len(jobs) / 2 - 0.1 * len(jobs) < faulty <= len(jobs) / 2
    assert not seeds["calibration"] & seeds["test"]


def test_both_halves_of_the_digits_are_different_samples(suite):
    tasks = {task.name: task for task in suite("tasks").TASKS}
    first, second = tasks["digits"].load()[0], tasks["digits, convolution"].load()[0]
    assert len(first) + len(second) == 1797


@pytest.mark.parametrize(
    ("loss", "fall", "stuck", "healthy"),
    [
        (2.0, 0.0, True, False),  # far above the sound run, at rest
        (2.0, 0.05, False, False),  # falls by more than 2 % of the way, by less than 10 %
        (2.0, 0.5, False, True),  # under way
        (1.05, 0.0, False, True),  # as good as the sound run
        (1.2, 0.0, False, False),  # neither much worse nor as good
        (9.0, 3.0, True, False),  # worse than a constant answer, and than its own start
        (9.0, 0.5, True, False),  # worse than a constant answer, and hardly falling
        (4.9, 1.0, False, False),  # worse than a constant answer, but on its way down from its start
        (float("inf"), 0.0, True, False),
    ],
)
def test_the_rule_of_truth(suite, loss, fall, stuck, healthy):
    truth = suite("truth").Truth(loss=loss, fall=fall, sound=1.0, constant=2.5, start=4.0)
    assert (truth.stuck, truth.healthy) == (stuck, healthy)


def test_nothing_is_stuck_where_its_twin_does_not_learn(suite):
    assert not suite("truth").Truth(loss=2.5, fall=0.0, sound=2.4, constant=2.5).stuck
    task, plan = suite("examine").find("xor", "correlated columns")  # no linear model learns XOR
    run = plan.make(task, 0, 0.01)
    assert not suite("truth").measure(task, plan, 0, 0.01, run).stuck


def test_a_cure_that_leaves_the_run_stuck_disproves_the_fault(suite):
    Truth = suite("truth").Truth
    assert Truth(2.0, 0.0, 1.0, 2.5, cured=1.1).stuck
    assert not Truth(2.0, 0.0, 1.0, 2.5, cured=1.9).stuck


def test_truth_of_a_dead_and_a_sound_run(suite):
    examine, measure = suite("examine"), suite("truth").measure
    task, dead = examine.find("wine", "dead layer")
    run = dead.make(task, 0, 30.0)
    before = run.digest()
    truth = measure(task, dead, 0, 30.0, run)
    assert truth.stuck and not truth.healthy and truth.fits(dead)
    assert run.digest() == before
    # a constant answer is all that a dead layer leaves: entropy of 59, 71 and 48 wines of 178, nine tenths drawn
    assert truth.constant == pytest.approx(1.09, abs=0.02)
    assert truth.loss == pytest.approx(truth.constant, abs=0.01)
    task, sound = examine.find("wine", "Adam")
    truth = measure(task, sound, 0, 1.0, sound.make(task, 0, 1.0))
    assert truth.healthy and not truth.stuck and truth.fits(sound)


def test_the_sparse_trap_is_sparse_and_alive(suite):
    task, plan = suite("examine").find("digits", "sparse ReLU")
    run = plan.make(task, 0, 1.0)
    outputs = dict(run.land.net.activations(run.land.X))["1.ReLU"]
    assert np.mean(outputs <= 0) > 0.7
    assert np.mean((outputs <= 0).all(axis=0)) < 0.05


def test_the_huge_input_trap_is_far_outside_the_unit_interval(suite):
    task, plan = suite("examine").find("digits", "inputs far outside [-1, 1]")
    assert np.abs(plan.set_up(task, 0, 1.0).land.X).max() > 5.0


def test_minima_are_minima_and_higher_than_others(suite):
    examine = suite("examine")
    task, plan = examine.find("rings", "a minimum higher than others")
    run = plan.make(task, 0, 3.0)
    values = np.linalg.eigvalsh(run.land.hessian(run.theta) @ np.eye(run.land.n))
    loss, g = run.land.gradient(run.theta)
    assert values[0] > 1e-6 * values[-1] and np.linalg.norm(g) < 1e-5
    assert loss > plan.sound(task, 0, 3.0) + 0.1


def _square(job):
    return {"square": job[0] ** 2}


def test_jobs_are_kept_and_taken_up_again(suite, tmp_path, capsys):
    run_all = suite("jobs").run_all
    kept = tmp_path / "rows"
    jobs = [(1, "a"), (2, "b"), (3, "c")]
    assert run_all(_square, jobs, kept=kept) == [{"square": 1}, {"square": 4}, {"square": 9}]
    kept.write_text("\n".join(kept.read_text().splitlines()[:2]) + "\n")  # as if it had been stopped
    called = []
    again = run_all(lambda job: called.append(job) or _square(job), jobs, kept=kept, resume=True)
    assert again == [{"square": 1}, {"square": 4}, {"square": 9}] and called == [(3, "c")]
    assert "3/3 runs" in capsys.readouterr().err


def test_scores_count_what_they_say(suite):
    score = suite("score")

    def answer(plan, causes, said, **options):
        return score.Answer("wine", plan, 0, 1.0, causes, said, 0.9, 1.0, ((said, 0.9),), **options)

    rows = [
        answer("dead", ("DEAD_UNITS", "BAD_INITIALISATION"), "DEAD_UNITS", rivals={"UMLAUT": []}),
        answer("dead", ("DEAD_UNITS", "BAD_INITIALISATION"), "BAD_INITIALISATION"),
        answer("dead", ("DEAD_UNITS", "BAD_INITIALISATION"), "HEALTHY"),
        answer("dead", ("DEAD_UNITS", "BAD_INITIALISATION"), "UNDECIDED"),
        answer("fine", ("HEALTHY", "CONVERGED"), "CONVERGED"),
        answer("fine", ("HEALTHY", "CONVERGED"), "STEP_TOO_LARGE"),
        answer("fine", ("HEALTHY", "CONVERGED"), "", left_out=True),
    ]
    lines = score.table(rows).splitlines()
    found = {line[:30].strip(): line[30:].split()[0] for line in lines[:7]}
    assert found["false alarms (healthy runs)"] == "1/2"
    assert found["recall (faulty runs)"] == "2/4"
    assert found["strict cause on top"] == "1/4"
    assert found["acceptable cause on top"] == "2/4"
    assert any("fine 1/3" in line for line in lines)


@pytest.mark.parametrize(
    ("control", "treated", "verdict"),
    [
        ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5], "better"),
        ([1.0, 1.0, 1.0], [0.995, 0.995, 0.995], "same"),  # less than 1 % of the room
        ([1.0, 2.0, 3.0], [0.9, 0.5, 3.0], "same"),  # not significant
        ([1.0, 1.0, 1.0], [1.5, 1.5, 1.5], "worse"),
        ([np.inf] * 3, [1.0] * 3, "better"),
        ([1.0] * 3, [1.0, np.inf, 1.0], "worse"),
        ([np.inf], [np.inf], "same"),
    ],
)
def test_better_and_worse(suite, control, treated, verdict):
    assert suite("repair").compare(control, treated, room=1.0) == verdict


def test_a_repair_is_tried_beside_its_habits(suite):
    repair = suite("repair")
    row = repair.attempt(("wine", "dead layer", 0, 30.0, 2.0, False))
    assert row["verdict"] == "better" and row["reached"]
    assert set(row["habits"]) == set(repair.HABITS)
    assert row["habits"]["do nothing"]["verdict"] == "same"
    text = repair.table([row])
    assert "us.unstick" in text and "1/1" in text
