"""Every address is found where it stands first, however alike the addresses are."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from style_match.backbone.feature_store import Index, Shard, pack_addresses

# few first halves, so that many addresses share the bytes that are searched by
ADDRESSES = [f"{head:016x}{tail:048x}" for head in (0, 1, 2**63, 2**64 - 1) for tail in range(3)]


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.sampled_from(ADDRESSES), max_size=6)), max_size=6))
def test_the_oldest_of_equal_addresses_is_found(written):
    shards = [
        Shard(Path(f"{number}"), age, {}, pack_addresses(addresses), np.empty((len(addresses), 0, 8), np.uint8), None)
        for number, (age, addresses) in enumerate(written)
    ]
    index = Index(reversed(shards))
    places = index.find(pack_addresses(ADDRESSES))
    number, row = index.locate(places)
    oldest_first = sorted(enumerate(written), key=lambda shard: (shard[1][0], shard[0]))
    for i, address in enumerate(ADDRESSES):
        stands = [(name, at) for name, (_, held) in oldest_first for at, each in enumerate(held) if each == address]
        found = [] if places[i] < 0 else [(int(index.shards[number[i]].path.name), int(row[i]))]
        assert found == stands[:1]
