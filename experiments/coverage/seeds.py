"""How often the intervals over several seeds (style_match.reporting.statistics) cover the truth, by simulation.

    python experiments/coverage/seeds.py

75 couples, queries in both directions. A latent Gaussian of variance 1 is the sum of a part that a query keeps over
seeds, a part that changes with the seed (both correlated by 0.5 within a couple) and an effect of the seed; ranks among
75 are a function of it, so recall and MRR are known exactly. About a minute on one core.
"""

from statistics import NormalDist
from typing import Any

import numpy as np
from coverage import COUPLES, covered

from style_match.reporting.statistics import seed_differences, seed_means

INTERVAL: dict[str, Any] = {"confidence": 0.95, "num_resamples": 1000, "seed": 0}
BOTH = np.tile(np.arange(COUPLES), 2)
REPEATS = 2000  # standard error of a coverage of 95 %: 0.5 points
NORMAL = NormalDist()


def couples(generator: np.random.Generator, repeats: int) -> np.ndarray:
    shared = generator.standard_normal((COUPLES, repeats))[BOTH]
    return np.sqrt(0.5) * (shared + generator.standard_normal((2 * COUPLES, repeats)))


def latents(
    num_seeds: int, kept: float, effect: float, generator: np.random.Generator, repeats: int = REPEATS, models: int = 2
) -> np.ndarray:
    """Return (models, S, Q, repeats) for the same couples; seeds of a query correlate by `kept`, without the effect."""
    rest = 1 - effect**2
    lasting = np.sqrt(rest * kept) * couples(generator, repeats)
    made = np.empty((models, num_seeds, 2 * COUPLES, repeats))
    for model, seed in np.ndindex(models, num_seeds):
        made[model, seed] = lasting + np.sqrt(rest * (1 - kept)) * couples(generator, repeats)
        made[model, seed] += effect * generator.standard_normal(repeats)
    return made


def spread(scores: np.ndarray) -> float:
    """Return the standard deviation over seeds of a model's mean, in points, averaged over the simulations."""
    return 100 * float(np.sqrt(scores.mean(1).var(0, ddof=1).mean())) if len(scores) > 1 else float("nan")


def rates(kept: float) -> None:
    ps = (0.07, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
    print(f"\nRates: a query's seeds correlate by {kept}; percent covered, mean / difference (mean widths in points)\n")
    print("| seeds | seed effect | spread at 0.5 | " + " | ".join(map(str, ps)) + " |\n" + "|---" * (3 + len(ps)) + "|")
    generator = np.random.default_rng(5)
    for num_seeds in (1, 3, 5):
        for effect in (0.0, 0.05, 0.1) if num_seeds > 1 else (0.0,):
            one, other = latents(num_seeds, kept, effect, generator)
            cells, seen = [], float("nan")
            for p in ps:
                less = max(p - 0.05, 0.03)
                hit, rival = one < NORMAL.inv_cdf(p), other < NORMAL.inv_cdf(less)
                hits, differences = hit.astype(float), hit.astype(float) - rival
                means, gains = seed_means(hits, BOTH, **INTERVAL), seed_differences(differences, BOTH, **INTERVAL)
                seen = spread(hits) if p == 0.5 else seen
                widths = [100 * np.mean([i.high - i.low for i in intervals]) for intervals in (means, gains)]
                both = f"{covered(means, p):.1f} / {covered(gains, p - less):.1f}"
                cells.append(f"{both} ({widths[0]:.1f} / {widths[1]:.1f})")
            shown = "" if num_seeds == 1 else f"{seen:.1f}"
            print(f"| {num_seeds} | {effect} | {shown} | " + " | ".join(cells) + " |", flush=True)


def ranks(kept: float = 0.8, effect: float = 0.06) -> None:
    """Rank r is reached below the share (r / 75) ** power of the latent's distribution."""
    print(f"\nMRR among 75, seeds correlate by {kept}, seed effect {effect}: percent covered\n")
    print("| seeds | MRR | mean | MRR of the other | difference |\n" + "|---" * 5 + "|")
    place = np.arange(1, COUPLES + 1) / COUPLES
    generator = np.random.default_rng(6)
    for num_seeds in (1, 3, 5):
        for powers in ((0.95, 1.0), (0.5, 0.6), (0.1, 0.2)):
            scores, truth = [], []
            effect_here = effect if num_seeds > 1 else 0.0
            for power, latent in zip(powers, latents(num_seeds, kept, effect_here, generator), strict=True):
                below = place**power
                bounds = [NORMAL.inv_cdf(share) for share in below[:-1]]
                scores.append(1 / (1 + np.searchsorted(bounds, latent)))
                truth.append(float((np.diff(below, prepend=0) / np.arange(1, COUPLES + 1)).sum()))
            mean = covered(seed_means(scores[0], BOTH, **INTERVAL), truth[0])
            gain = covered(seed_differences(scores[0] - scores[1], BOTH, **INTERVAL), truth[0] - truth[1])
            shown = f"{100 * truth[0]:.1f} | {mean:.1f} | {100 * truth[1]:.1f} | {gain:.1f}"
            print(f"| {num_seeds} | {shown} |", flush=True)


def one_seed(kept: float = 0.7, p: float = 0.5) -> None:
    """The interval of a single training, used for other trainings of the same recipe."""
    print(f"\nOne seed, p {p}, as an interval for the recipe's mean over seeds (what it does not claim)\n")
    print("| seed effect | mean | difference of two recipes |\n|---|---|---|")
    generator = np.random.default_rng(7)
    for effect in (0.0, 0.05, 0.1):
        one, other = (latents(1, kept, effect, generator) < NORMAL.inv_cdf(p)).astype(float)
        mean, gain = seed_means(one, BOTH, **INTERVAL), seed_differences(one - other, BOTH, **INTERVAL)
        print(f"| {effect} | {covered(mean, p):.1f} | {covered(gain, 0):.1f} |", flush=True)


def twins(better: float = 0.95, worse: float = 0.93) -> None:
    """Two models that agree on most couples, one seed each: only few couples differ."""
    print(f"\nGain of {better} over {worse}, one seed: percent covered\n")
    print("| models correlate by | directions apart | directions alike |\n|---|---|---|")
    generator = np.random.default_rng(11)
    cuts = np.array([NORMAL.inv_cdf(better), NORMAL.inv_cdf(worse)])[:, None, None]
    for kept in (0.8, 0.9, 0.95):
        apart = latents(1, kept, 0.0, generator)[:, 0]
        same = generator.standard_normal((3, COUPLES, REPEATS))[:, BOTH]
        alike = np.sqrt(kept) * same[0] + np.sqrt(1 - kept) * same[1:]
        cells = []
        for latent in (apart, alike):
            one, other = (latent < cuts).astype(float)
            gain = seed_differences((one - other)[None], BOTH, **INTERVAL)
            cells.append(f"{covered(gain, better - worse):.1f}")
        print(f"| {kept} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    print("## Intervals over seeds")
    for share in (0.5, 0.9):
        rates(share)
    ranks()
    one_seed()
    twins()
