import itertools
import random
import time
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from jaxrec.errors import InputError
from jaxrec.sweep import leases, servers
from jaxrec.sweep.databases import address_of, split_password
from jaxrec.sweep.servers import ServerStorage, StorageLostError, UnreachableError
from jaxrec.sweep.storage import open_storage, read_storage
from tests.sweep.recorder import Curves, n_done, sweep

URL = "postgresql+psycopg://user:s3cret@127.0.0.1:1/studies"


class Unreliable(InMemoryStorage):
    """A storage whose connection breaks in one of `every` calls, before or after the call is executed."""

    def __init__(self, every):
        super().__init__()
        self.random, self.every, self.broken = random.Random(7), every, 0

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in vars(servers.BaseStorage) or name.startswith(("_", "remove")):
            return found

        def call(*args, **kwargs):
            if kind := self.random.choice([0] * (self.every - 1) + [1]) and self.random.choice([1, 2]):
                self.broken += 1
            if kind == 1:
                raise UnreachableError
            result = found(*args, **kwargs)
            if kind == 2:
                raise UnreachableError
            return result

        return call


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(servers, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic))
    monkeypatch.setattr(leases, "LEASE_SECONDS", 60)


@pytest.mark.parametrize("every", [3, 10])
def test_a_broken_connection_loses_and_repeats_nothing(every, tmp_path, hasty):
    through = sweep(tmp_path, storage=ServerStorage(InMemoryStorage()), runner=Curves(lambda params: 2), n_trials=9)
    unreliable = Unreliable(every)
    study = sweep(tmp_path, storage=ServerStorage(unreliable), runner=Curves(lambda params: 2), n_trials=9)
    assert unreliable.broken > 20
    assert [(t.number, t.state, t.params, t.value) for t in study.trials] == [
        (t.number, t.state, t.params, t.value) for t in through.trials
    ]


def test_an_unreachable_server_ends_the_search_with_one_line_and_the_next_search_continues(
    tmp_path, hasty, monkeypatch
):
    inner = InMemoryStorage()
    calls, storage = itertools.count(), ServerStorage(inner, minutes=0)

    class Leaving(Curves):
        def advance(self, *limit):
            if next(calls) == 3:
                for name in ("get_all_trials", "get_trial", "set_trial_user_attr", "set_study_user_attr"):
                    monkeypatch.setattr(inner, name, unreachable)
            yield from super().advance(*limit)

    def unreachable(*args, **kwargs):
        raise UnreachableError

    with pytest.raises(StorageLostError, match="could not be reached for 0 minutes; the same command continues"):
        sweep(tmp_path, storage=storage, runner=Leaving(lambda params: 2), n_trials=8)
    monkeypatch.undo()
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    states = [trial.state for trial in inner.get_all_trials(0)]
    assert states[:3] == [TrialState.COMPLETE] * 3
    assert set(states[3:]) == {TrialState.RUNNING}
    study = sweep(tmp_path, storage=ServerStorage(inner), runner=Curves(lambda params: 2), n_trials=8)
    assert n_done(study) == len(study.trials) == 8


def test_other_errors_are_raised_at_once():
    with pytest.raises(KeyError):
        ServerStorage(InMemoryStorage()).get_trial(3)


def test_every_method_of_a_storage_is_passed_on():
    storage = ServerStorage(InMemoryStorage())
    study = optuna.create_study(storage=storage, study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert optuna.get_all_study_names(storage) == ["s"]
    assert study.best_value == min(trial.value for trial in study.trials)
    optuna.delete_study(study_name="s", storage=storage)


def test_no_message_contains_the_password(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    for opened in (lambda: open_storage(URL, tmp_path), lambda: read_storage(URL)):
        with pytest.raises(InputError, match=r"cannot open the storage postgresql\+psycopg://\.\.\.@127") as error:
            opened()
        assert "s3cret" not in str(error.value)
        assert error.value.__suppress_context__
    with pytest.raises(InputError) as error:
        open_storage("postgresql+psycopg://user:s3cret@127.0.0.1:port/studies", tmp_path)
    assert "s3cret" not in str(error.value)


def test_a_password_can_come_from_the_environment(monkeypatch):
    bare, password = split_password(URL)
    assert (bare, password) == ("postgresql+psycopg://user@127.0.0.1:1/studies", "s3cret")
    assert address_of(bare).password is None
    monkeypatch.setenv("JAXREC_STORAGE_PASSWORD", "p@ss{}/")
    assert address_of(bare).password == "p@ss{}/"
    assert address_of(URL).password == "s3cret"
    assert split_password("sqlite:///a.db") == ("sqlite:///a.db", None)


@pytest.mark.parametrize("url", ["grpc://host", "grpc://:13000", "grpc://user:s3cret@host:13000"])
def test_a_proxy_without_host_and_port_is_an_error(url, tmp_path):
    pytest.importorskip("grpc")
    with pytest.raises(InputError, match="use grpc://HOST:PORT") as error:
        open_storage(url, tmp_path)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("name", ["create_new_trial", "set_trial_state_values"])
def test_a_call_that_is_executed_without_a_response_takes_effect_once(name, hasty, monkeypatch):
    inner = InMemoryStorage()
    study = optuna.create_study(storage=ServerStorage(inner))
    study.enqueue_trial({"x": 0.5})
    carry_out, answered = getattr(inner, name), set()

    def unanswered(*arguments):
        result = carry_out(*arguments)
        if len(answered) < 2:
            answered.add(len(answered))
            raise UnreachableError
        return result

    monkeypatch.setattr(inner, name, unanswered)
    first, second = study.ask(), study.ask()
    assert (first.number, second.number, len(study.trials)) == (0, 1, 2)
    study.tell(first, 0.25)
    assert study.trials[0].value == 0.25
    assert study.trials[1].state == TrialState.RUNNING
    assert answered
