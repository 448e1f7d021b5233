"""The record of a member."""

import json

from jaxrec.fitting.member import Member, Rules, metrics_at
from jaxrec.hyper import Hyper


def test_a_restored_member_ends_when_it_would_have():
    """With a patience of 2, the second validation without improvement is the last, in whatever process."""
    rules, scores = Rules(2, 1, "ndcg@10", 1), [0.5, 0.4]
    member, restored = (Member(0, Hyper({}), epochs=9) for _ in range(2))
    for score in scores:
        member.add({"loss": 1.0, "ndcg@10": score}, rules)
    restored.restore(json.loads(json.dumps(member.record)))
    assert not restored.ended
    restored.add({"loss": 1.0, "ndcg@10": 0.5}, rules)  # as good as the best, not better
    assert restored.ended
    assert (restored.best_epoch, restored.score, restored.epoch) == (1, 0.5, 3)


def test_metrics_are_those_of_the_epoch_without_its_loss_and_seconds():
    values = {1: 0.2, 2: 0.4, 3: 0.1}
    history = [{"epoch": e, "loss": 1.0 / e, "seconds": 0.5, "ndcg@10": value} for e, value in values.items()]
    assert metrics_at(history, 2) == {"ndcg@10": 0.4}
    assert metrics_at(history, 3) == {"ndcg@10": 0.1}
    assert metrics_at(history, 0) == {}
