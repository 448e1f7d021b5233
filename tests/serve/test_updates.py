"""Recorded events of users, and which are evicted first."""

import sys
import tracemalloc

from jaxrec.serve.updates import Details, Updates


def test_items_of_a_user_stay_in_order():
    updates = Updates(max_users=2, max_items=10, max_bytes=2**20)
    updates.add("ada", [3, 1])
    updates.add("ada", [2, 3])
    assert updates.of("ada") == (3, 1, 2, 3)
    assert updates.of("bob") == ()
    assert len(updates) == 1


def test_the_oldest_items_of_a_user_are_evicted_first():
    updates = Updates(max_users=2, max_items=3, max_bytes=2**20)
    updates.add("ada", [1, 2])
    updates.add("ada", [3, 4])
    assert updates.of("ada") == (2, 3, 4)
    detailed = Updates(max_users=2, max_items=3, max_bytes=2**20, detailed=True)
    for item in (1, 2, 3, 4):
        detailed.add("ada", [item], Details(event=item, time=10 * item, value=0.5 * item))
    assert detailed.details("ada").tolist() == [[2, 20, 1], [3, 30, 1.5], [4, 40, 2]]


def test_the_least_recently_active_user_is_evicted():
    updates = Updates(max_users=2, max_items=3, max_bytes=2**20)
    updates.add("ada", [1])
    updates.add("bob", [2])
    assert updates.of("ada") == (1,)  # read: bob is now the least recently active
    updates.add("eve", [3])
    assert [updates.of(user) for user in ("ada", "bob", "eve")] == [(1,), (), (3,)]
    assert (len(updates), updates.evicted) == (2, 1)


def test_memory_is_bounded_for_any_number_of_users_with_long_ids():
    updates = Updates(max_users=10**9, max_items=500, max_bytes=2**20)
    tracemalloc.start()
    for user in range(3000):
        updates.add(f"{user}{chr(0x1F600) * 490}", [7] * (user % 500))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used <= updates.bytes <= 2**20
    assert updates.evicted == 3000 - len(updates) > 2000
    assert updates.of(f"2999{chr(0x1F600) * 490}") == (7,) * 499


def test_memory_in_use_is_proportional_to_the_items():
    updates = Updates(max_users=2, max_items=3, max_bytes=2**20)
    for users in (["ada"], ["ada", "bob"], ["ada", "bob", "eve"] * 9):
        for user in users:
            updates.add(user, [1, 2])
    # Each of the three was evicted before it came back, so two of them have two items.
    assert updates.bytes == 2 * (300 + sys.getsizeof("ada") + 4 * 2)
