"""A search in float32 that is as far off as float32 permits still gives the answers of float64."""

import numpy as np

from style_match.serving.index.exact import Exact

ULP = 2.0**-24  # distance of float32 numbers from 0.5 to 1; the largest relative error of one float32 operation
DIM = 8


class Worst(Exact):
    """Its products are off by the largest error that a float32 sum of 8 products can have, in a direction by row."""

    ups: np.ndarray

    def _top(self, queries, num, allowed):
        worst = DIM * ULP / (1 - DIM * ULP)  # Higham, section 3.1
        scores = queries.astype(np.float64) @ self.vectors.T.astype(np.float64) + worst * self.ups
        order = np.argsort(-scores, axis=1)[:, :num]
        return np.take_along_axis(scores, order, axis=1), order


def test_the_nearest_is_found_although_rounding_puts_others_before_it():
    # scores with the first axis: "best" is truly the nearest, but rounding down puts it behind all others
    names = ["best", "second", *(f"other{i}" for i in range(12))]
    scores = np.array([0.75 + ULP, 0.75, *[0.75 - 14 * ULP] * 12], dtype=np.float32)
    vectors = np.zeros((len(names), DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = scores, np.sqrt(1 - scores.astype(np.float64) ** 2)
    index = Worst(root=None, query_block=8, row_block=8)
    index.ups = np.array([-1.0] + [1.0] * 13)
    index.build(names, vectors, None, "a matcher's identity")
    query = np.eye(1, DIM, dtype=np.float32)
    _, order = index._top(query, 9, None)
    assert names[order[0, 0]] == "second" and 0 not in order, "the first search misses the best"
    assert index.search(query, 1) == [[("best", 0.75 + ULP)]]
