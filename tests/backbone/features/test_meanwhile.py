"""Writers, removals, vanished and damaged shards in any order: a store that stays open knows what is held."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from style_match.backbone.feature_store import remove_rows

NUMBERS = range(12)
SOME = st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=6, unique=True)


@pytest.mark.filterwarnings("error")
def test_two_open_stores(rows):
    class Meanwhile(RuleBasedStateMachine):
        """`held`: which rows each shard on disk has; both stores must serve their union."""

        def __init__(self):
            super().__init__()
            self.scratch = tempfile.TemporaryDirectory()
            self.root = Path(self.scratch.name)
            self.stores = [rows.store(self.root), rows.store(self.root)]
            self.held: dict[Path, set[int]] = {}

        def teardown(self):
            self.scratch.cleanup()

        def on_disk(self) -> set[Path]:
            return set(self.stores[0].folder.glob("*.safetensors"))

        @rule(which=st.sampled_from([0, 1]), numbers=SOME)
        def write(self, which, numbers):
            for start in range(0, len(numbers), 4):  # a shard
                rows.write(self.stores[which], numbers[start : start + 4])
                (new,) = self.on_disk() - self.held.keys()
                self.held[new] = set(numbers[start : start + 4])

        @rule(number=st.sampled_from(NUMBERS))
        def remove(self, number):
            remove_rows(self.root, [], [rows.address(number)])
            others = {path: numbers for path, numbers in self.held.items() if number not in numbers}
            new = {path: self.numbers_in(path) for path in self.on_disk() - others.keys()}
            kept = [numbers - {number} for numbers in self.held.values() if number in numbers]
            assert sorted(map(sorted, new.values())) == sorted(sorted(numbers) for numbers in kept if numbers)
            self.held = others | new

        def numbers_in(self, path: Path) -> set[int]:
            content = path.read_bytes()
            return {number for number in NUMBERS if bytes.fromhex(rows.address(number)) in content}

        @precondition(lambda self: self.held)
        @rule(data=st.data())
        def vanish(self, data):
            path = data.draw(st.sampled_from(sorted(self.held)))
            path.unlink()
            del self.held[path]

        @precondition(lambda self: self.held)
        @rule(data=st.data(), at=st.integers(0, 100))
        def damage(self, data, at):
            path = data.draw(st.sampled_from(sorted(self.held)))
            content = bytearray(path.read_bytes())
            content[at] ^= 1
            path.write_bytes(content)
            with pytest.warns(UserWarning, match="Damaged shards are left out"):
                rows.store(self.root)
            del self.held[path]

        @invariant()
        def every_store_knows(self):
            held = set().union(*self.held.values())
            for store in (*self.stores, rows.store(self.root)):
                rows.check(store, sorted(held))
                missing = store.missing([rows.address(number) for number in NUMBERS])
                assert missing == [rows.address(number) for number in NUMBERS if number not in held]
                assert store.num_rows == sum(map(len, self.held.values()))

    run_state_machine_as_test(Meanwhile, settings=settings(max_examples=8, stateful_step_count=10, deadline=None))
