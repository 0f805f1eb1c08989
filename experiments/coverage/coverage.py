"""How often the intervals of style_match.evaluation.bootstrap cover the truth, by simulation.

    python experiments/coverage/coverage.py

Prints the first part of result.txt beside it. About two minutes on one core.
"""

from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from style_match.evaluation.bootstrap import ClusterBootstrap, Interval
from style_match.evaluation.metrics import scores
from style_match.evaluation.ranks import couple_ranks

COUPLES = 75
INTERVAL: dict[str, Any] = {"confidence": 0.95, "num_resamples": 2000, "seed": 0}
REPEATS = 4000  # standard error of a coverage of 95 %: 0.34 points


def covered(intervals: list[Interval], truth: float) -> float:
    return 100 * float(np.mean([i.low - 1e-12 <= truth <= i.high + 1e-12 for i in intervals]))


def hits(p: float, correlation: float, clusters: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return (queries, REPEATS) zeros and ones with mean p; latent Gaussians of one cluster have this correlation."""
    shared = generator.standard_normal((clusters.max() + 1, REPEATS))[clusters]
    own = generator.standard_normal(shared.shape)
    latent = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return (latent < NormalDist().inv_cdf(p)).astype(float)


def rates(title: str, clusters: np.ndarray) -> None:
    generator = np.random.default_rng(1)
    correlations = (0.0, 0.3, 0.6, 0.9, 1.0)
    bootstrap = ClusterBootstrap(clusters, **INTERVAL)
    print(f"\n{title}\n\n| p | " + " | ".join(f"correlation {c}" for c in correlations) + " |")
    print("|---" * (1 + len(correlations)) + "|")
    for p in (0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97):
        cells = []
        for correlation in correlations:
            intervals = bootstrap.means(hits(p, correlation, clusters, generator))
            width = 100 * np.mean([i.high - i.low for i in intervals])
            cells.append(f"{covered(intervals, p):.1f} ({width:.1f})")
        print(f"| {p} | " + " | ".join(cells) + " |", flush=True)


def rivals() -> None:
    """The usual intervals on the same simulation, from cluster means: why they were not chosen."""
    generator = np.random.default_rng(3)
    counts = generator.multinomial(COUPLES, np.full(COUPLES, 1 / COUPLES), size=2000) / COUPLES
    normal = NormalDist()
    tails = normal.inv_cdf(0.025), normal.inv_cdf(0.975)
    to_normal, to_share = np.vectorize(normal.inv_cdf), np.vectorize(normal.cdf)

    def percentile(means: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.quantile(counts @ means, (0.025, 0.975), axis=0))

    def bca(means: np.ndarray) -> tuple[np.ndarray, ...]:  # Efron 1987
        resampled, value = counts @ means, means.mean(0)
        below = (resampled < value).mean(0) + (resampled == value).mean(0) / 2
        bias, spread = to_normal(below.clip(1e-4, 1 - 1e-4)), means - value
        skew = (spread**3).sum(0) / (6 * np.maximum((spread**2).sum(0), 1e-12) ** 1.5)
        shares = [to_share(bias + (bias + z) / (1 - skew * (bias + z))) for z in tails]
        return tuple(np.array([np.quantile(c, q) for c, q in zip(resampled.T, s, strict=True)]) for s in shares)

    def student(means: np.ndarray) -> tuple[np.ndarray, ...]:
        half = 1.993 * means.std(0, ddof=1) / np.sqrt(COUPLES)  # t of 74 degrees of freedom
        return means.mean(0) - half, means.mean(0) + half

    print("\nOther intervals, 75 couples, p from 0.07 to 0.95: lowest coverage\n")
    print("| interval | percent | at |\n|---|---|---|")
    for interval in (percentile, bca, student):
        lowest = (100.0, "")
        for p in (0.07, 0.1, 0.2, 0.5, 0.8, 0.9, 0.93, 0.95):
            for correlation in (0.0, 0.6, 0.9, 1.0):
                scored = hits(p, correlation, np.tile(np.arange(COUPLES), 2), generator)
                low, high = interval(scored.reshape(2, COUPLES, REPEATS).mean(0))
                inside = 100 * float(((low <= p + 1e-12) & (p - 1e-12 <= high)).mean())
                lowest = min(lowest, (inside, f"p {p}, correlation {correlation}"))
        print(f"| {interval.__name__} | {lowest[0]:.1f} | {lowest[1]} |", flush=True)


def worlds(num_worlds: int = 10, queries: int = 150) -> None:
    """The mean gain over a few worlds that differ, each world one cluster."""
    generator = np.random.default_rng(4)
    bootstrap = ClusterBootstrap(np.repeat(np.arange(num_worlds), queries), **INTERVAL)
    gain = np.repeat(generator.normal(0.08, 0.03, (num_worlds, REPEATS)), queries, axis=0)
    gain = gain + generator.normal(0, 0.3, gain.shape)
    percent = covered(bootstrap.differences(gain), 0.08)
    print(f"\nGain over {num_worlds} worlds, a world one cluster: {percent:.1f} % covered")


def retrieval(repeats: int = 2500, ks: tuple[int, ...] = (1, 5, 20, 50)) -> None:
    """Real ranks: galleries of 75 shared by all queries, and two models with different noise on the same couples."""
    generator = torch.Generator().manual_seed(2)
    clusters = np.tile(np.arange(COUPLES), 2)
    bootstrap = ClusterBootstrap(clusters, **INTERVAL)
    pairs = torch.arange(COUPLES)[:, None].repeat(1, 2)

    def gauss() -> torch.Tensor:
        return torch.randn(COUPLES, 8, generator=generator)

    print("\nRanks of simulated couples (8 latent traits, correlation rho in a couple, noise of the frozen, trained)\n")
    print("| world | metric | frozen | covered | trained | covered | gain covered |\n" + "|---" * 7 + "|")
    for rho, noises in ((0.95, (2.0, 1.3)), (0.5, (3.0, 1.0)), (0.95, (1.6, 0.5))):
        columns: dict[str, list[list[np.ndarray]]] = {}
        ranks: list[list[np.ndarray]] = [[], []]
        for _ in range(repeats):
            taste = gauss()
            left, right = (rho**0.5 * taste + (1 - rho) ** 0.5 * gauss() for _ in range(2))
            for model, noise in enumerate(noises):
                seen_left, seen_right = (normalize(side + noise * gauss(), dim=1) for side in (left, right))
                found = couple_ranks(seen_left, seen_right, pairs, block=COUPLES)
                ranks[model].append(found.rank.numpy())
                for name, column in scores(found, ks).items():
                    columns.setdefault(name, [[], []])[model].append(column.numpy())
        world = f"rho {rho}, noise {noises[0]}, {noises[1]}"
        for name, models in columns.items():
            frozen, trained = (np.stack(model, axis=1) for model in models)
            row = []
            for scored in (frozen, trained):
                row += [f"{100 * scored.mean():.1f}", f"{covered(bootstrap.means(scored), scored.mean()):.1f}"]
            gain = bootstrap.differences(trained - frozen)
            row.append(f"{covered(gain, trained.mean() - frozen.mean()):.1f}")
            print(f"| {world} | {name} | " + " | ".join(row) + " |", flush=True)
        row = []
        for found_ranks in ranks:
            truth = float(np.median(np.concatenate(found_ranks)))
            some = [bootstrap.median(column, largest=COUPLES) for column in found_ranks[:400]]
            row += [f"{truth:g}", f"{covered(some, truth):.1f}"]
        print(f"| {world} | median rank | " + " | ".join(row) + " | |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("## One training")
    both = np.tile(np.arange(COUPLES), 2)
    rates("75 couples, both directions: percent covered (mean width in points)", both)
    couples_of = np.repeat(np.arange(40), [6, 5, 4, 4, 3, 3, 3, 3, *[2] * 12, *[1] * 20])
    uneven = np.tile(couples_of, 2)
    rates("75 couples in 40 clusters of 1 to 6 couples", uneven)
    rivals()
    worlds()
    retrieval()
