"""What is kept of users, and what is forgotten first."""

from jaxrec.serve.updates import Updates


def test_items_of_a_user_stay_in_order():
    updates = Updates(max_users=2, max_items=10)
    updates.add("ada", [3, 1])
    updates.add("ada", [2, 3])
    assert updates.of("ada") == (3, 1, 2, 3)
    assert updates.of("bob") == ()
    assert len(updates) == 1


def test_the_oldest_items_of_a_user_go_first():
    updates = Updates(max_users=2, max_items=3)
    updates.add("ada", [1, 2])
    updates.add("ada", [3, 4])
    assert updates.of("ada") == (2, 3, 4)


def test_the_user_of_whom_nothing_was_heard_longest_is_forgotten():
    updates = Updates(max_users=2, max_items=3)
    updates.add("ada", [1])
    updates.add("bob", [2])
    assert updates.of("ada") == (1,)  # asked about: bob is now the oldest
    updates.add("eve", [3])
    assert [updates.of(user) for user in ("ada", "bob", "eve")] == [(1,), (), (3,)]
    assert (len(updates), updates.evicted) == (2, 1)
