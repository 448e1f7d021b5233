import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.storages import InMemoryStorage

from jaxrec.console import show_warnings
from jaxrec.sweep import leases
from jaxrec.sweep.leases import LEASE, TICKET, LeaseLostError, Leases, is_recent, lease
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.servers import ServerStorage
from tests.sweep.recorder import DONE, SPACE, Curves, Recorder, quadratic, sweep


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def study():
    return optuna.create_study(storage=InMemoryStorage())


@pytest.fixture
def brief(monkeypatch):
    show_warnings()
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(leases, "TURN_POLL_SECONDS", 0.002)


def server():
    return ServerStorage(InMemoryStorage())


def test_a_worker_is_dead_if_its_lease_is_not_renewed_for_30_seconds_of_the_observers_clock(study):
    clock = Clock()
    one, two = Leases(study, 30, clock), Leases(study, 30, Clock())
    one.renew()
    for _ in range(3):
        two.renew()  # its own clock is stopped
        clock.now += 10
        one.renew()
        assert one.is_alive(two.id)
    for is_alive in (True, True, False):  # 10, 20 and 30 seconds after the last renewal
        clock.now += 10
        one.renew()
        assert one.is_alive(two.id) is is_alive
    two.renew()
    one.renew()
    assert one.is_alive(two.id)
    assert one.is_alive(one.id)


def test_a_worker_without_a_lease_is_dead_after_30_seconds_and_one_that_ended_at_once(study):
    clock = Clock()
    one = Leases(study, 30, clock)
    one.renew()
    assert one.is_alive("of an earlier version")
    for _ in range(3):
        clock.now += 10
        one.renew()
    assert not one.is_alive("of an earlier version")
    with lease(study, 60) as other:
        one.renew()
        assert one.is_alive(other.id)
        assert is_recent(study.user_attrs, other.id)
    one.renew()
    assert not one.is_alive(other.id)
    assert not is_recent(study.user_attrs, other.id)


def test_a_lease_is_renewed_while_it_is_held(study):
    with lease(study, seconds=0.12) as held:
        until = time.monotonic() + 5
        while study.user_attrs[LEASE + held.id][0] < 3:
            assert time.monotonic() < until
            time.sleep(0.005)
    assert study.user_attrs[LEASE + held.id][0] == leases.ENDED


def test_a_worker_is_waited_for_only_while_it_has_running_trials(study, monkeypatch):
    """That of trial 0, which has ended, would have to be observed for 30 seconds."""
    study.ask().set_user_attr("worker", "of an earlier version")
    one = Leases(study, 30, Clock())
    one.observe(one.storage)
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: study.tell(0, 0.5))
    one.wait_until_known(study)
    assert study.trials[0].value == 0.5


def test_no_worker_is_dead_because_the_observer_was_disconnected(study):
    clock = Clock()
    one, two = Leases(study, 30, clock), Leases(study, 30, Clock())
    two.renew()
    one.renew()
    clock.now += 100  # the server restarts
    assert one.is_alive(two.id)
    one.renew()
    assert one.is_alive(two.id)
    for _ in range(3):
        clock.now += 10
        one.renew()
    assert not one.is_alive(two.id)


def test_of_equal_tickets_that_of_the_lower_id_is_first_and_whoever_chooses_is_waited_for(study):
    one = Leases(study, 30, Clock())
    one.id = "5"
    one.renew()
    assert [one._is_before(worker, 3, mine=3) for worker in ("4", "5", "6")] == [True, False, False]
    assert [one._is_before("6", ticket, mine=3) for ticket in (leases.CHOOSING, 0, 2, 4)] == [True, False, True, False]


def test_only_one_worker_has_the_turn(study, monkeypatch):
    monkeypatch.setattr(leases, "TURN_POLL_SECONDS", 0.0005)
    inside, entered = 0, []

    def work(worker):
        nonlocal inside
        for _ in range(25):
            with worker.turn():
                inside += 1
                time.sleep(0.0005)
                entered.append(inside)
                inside -= 1

    workers = [Leases(study, 60) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, workers))
    assert entered == [1] * 100
    assert all(study.user_attrs[TICKET + worker.id] == 0 for worker in workers)


def test_a_suspended_worker_loses_its_turn_and_notices_it(study):
    clock, other_clock = Clock(), Clock()
    suspended, other = Leases(study, 30, clock), Leases(study, 30, other_clock)
    suspended.renew()
    other.renew()
    with suspended.turn():
        suspended.check()
        for _ in range(4):
            other_clock.now += 10
            other.renew()
        with other.turn():  # does not wait
            other.check()
        clock.now += 40
        with pytest.raises(LeaseLostError):
            suspended.check()  # before its next renewal,
        suspended.renew()
        with pytest.raises(LeaseLostError):
            suspended.check()  # and after it
    with suspended.turn():
        suspended.check()


def test_a_turn_waits_for_that_of_a_living_worker(study, monkeypatch):
    monkeypatch.setattr(leases, "TURN_POLL_SECONDS", 0.001)
    one, two = Leases(study, 60), Leases(study, 60)
    waits = threading.Thread(target=lambda: two.turn().__enter__(), daemon=True)
    with one.turn():
        waits.start()
        waits.join(0.05)
        assert waits.is_alive()
    waits.join(5)
    assert not waits.is_alive()


def test_workers_of_a_server_in_threads_end_with_the_exact_number_of_trials(tmp_path, brief):
    storage, all_have_trials = server(), threading.Barrier(4)

    def work(number):
        def evaluate(batch):
            if number not in started:
                started.add(number)
                all_have_trials.wait(60)  # otherwise the first worker may train all trials before the others start
            return [Outcome(quadratic(params)) for params in batch]

        return sweep(tmp_path / str(number), evaluate, storage=storage, n_trials=17, population=2)

    started: set[int] = set()
    with ThreadPoolExecutor(4) as threads:
        study = next(iter(threads.map(work, range(4))))
    # A worker that lost its turn under load gives up the trial that it was about to propose.
    trials = [trial for trial in study.trials if "orphan" not in trial.user_attrs]
    assert len(trials) == 17
    assert all(trial.state in DONE for trial in trials)
    assert len({str(trial.params) for trial in trials}) == 17
    assert len({trial.user_attrs["worker"] for trial in trials}) > 1


def test_trials_of_a_worker_that_died_on_another_machine_are_continued(tmp_path, brief, caplog):
    study = sweep(tmp_path / "here", storage=(storage := server()), n_trials=2)
    dead = study.ask({name: dimension.distribution() for name, dimension in SPACE.items()})
    study.set_user_attr(LEASE + "far", [7, 0])
    dead.set_user_attr("worker", "far")
    evaluate = Recorder()
    study = sweep(tmp_path / "there", evaluate, storage=storage, n_trials=4)
    assert dead.params in evaluate.seen
    assert len(study.trials) == 4
    assert all(trial.state in DONE for trial in study.trials)
    assert "trial 2 was running in a process that ended" in caplog.text


def test_trials_taken_over_by_another_worker_are_left_to_it(tmp_path, brief, caplog):
    """The first two trials are taken over in their second epoch; one is ended by the other worker, one is not."""
    storage, epochs = server(), []

    class Suspended(Curves):
        def advance(self, *limit):
            epochs.append(1)
            if len(epochs) == 2:
                study = optuna.load_study(study_name="study", storage=storage)
                for number in (0, 1):
                    trial = optuna.trial.Trial(study, study.trials[number]._trial_id)
                    trial.set_user_attr("worker", "other")
                study.tell(0, 0.5)
            yield from super().advance(*limit)

    study = sweep(tmp_path, runner=Suspended(lambda params: 3), storage=storage, n_trials=5, population=2)
    assert [trial.state in DONE for trial in study.trials] == [True] * 5
    assert study.trials[0].value == 0.5
    assert "epochs" not in study.trials[0].user_attrs
    assert study.trials[1].value == quadratic(study.trials[1].params) * (1 - 0.5**3)
    assert "trial 0 was continued by another process" in caplog.text


def test_a_trial_proposed_after_the_turn_was_lost_does_not_count(tmp_path, brief, monkeypatch):
    checks, check = [], Leases.check

    def lost_once(self):
        checks.append(1)
        if len(checks) == 4:  # after the second proposal
            raise LeaseLostError
        check(self)

    monkeypatch.setattr(Leases, "check", lost_once)
    study = sweep(tmp_path, storage=server(), n_trials=4, population=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", *["COMPLETE"] * 3]
