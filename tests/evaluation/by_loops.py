"""The cluster bootstrap and its intervals, written out with loops over the same draws as `ClusterBootstrap`."""

import numpy as np
from scipy import optimize, stats


def resamples(clusters, *, num_resamples, seed):
    """Positions of the queries of each resample: as many clusters as there are, drawn with replacement."""
    numbers = np.unique(clusters)
    drawn = np.random.default_rng(seed).integers(len(numbers), size=(num_resamples, len(numbers)))
    members = [np.flatnonzero(clusters == number) for number in numbers]
    return [np.concatenate([members[number] for number in row]) for row in drawn]


def variance(scores, clusters, *, num_resamples, seed):
    """Of the mean of `scores` (Q,): C / (C - 1) times the mean squared deviation of the resamples' means."""
    means = [scores[chosen].mean() for chosen in resamples(clusters, num_resamples=num_resamples, seed=seed)]
    num = len(np.unique(clusters))
    return sum((mean - scores.mean()) ** 2 for mean in means) / len(means) * num / (num - 1)


def effective(clusters):
    """How many clusters of one size have as much in them (Kish 1965)."""
    sizes = [int((clusters == number).sum()) for number in np.unique(clusters)]
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


def wilson(scores, clusters, *, confidence, num_resamples, seed):
    """(low, high): the p from which the mean is t standard errors away, the error being that under p.

    The design effect (bootstrap variance over the binomial one of independent clusters) is drawn to 1 as if half a
    cluster more had been seen among the hits (or misses, if these are fewer).
    """
    value, num = scores.mean(), effective(clusters)
    binomial = value * (1 - value) / num
    hits = num * min(value, 1 - value)
    design = variance(scores, clusters, num_resamples=num_resamples, seed=seed) / binomial
    design = (design * hits + 0.5) / (hits + 0.5)
    t = stats.t.ppf((1 + confidence) / 2, num - 1)

    def distance(p):
        return (value - p) ** 2 - t**2 * design * p * (1 - p) / num

    return optimize.brentq(distance, 0, value, xtol=1e-14), optimize.brentq(distance, value, 1, xtol=1e-14)


def paired_variance(differences, clusters, *, num_resamples, seed):
    """Of a mean of differences (Q,): the bootstrap's and a quarter of a cluster as far off as the farthest."""
    value = differences.mean()
    farthest = max(
        abs((differences[clusters == number] - value).sum()) / len(differences) for number in np.unique(clusters)
    )
    return variance(differences, clusters, num_resamples=num_resamples, seed=seed) + farthest**2 / 4
