"""How often an audit's verdicts are wrong, by simulation: `python tests/benchmarks/verdicts.py`.

Many audits a setting of n images: each attacker fools an image where a normal variable, a share of whose
variance all attackers share, is below a threshold. Printed are how often the verdict is pass and
fail, the bias of the held-out rate of the chosen attacker, and by how much its true rate falls short of the
best one's; all but the first two in points. It exits with 1 where a pass at a true rate at the limit, or a
fail where no attacker is above it, is more frequent than 2.5 % allow, or the bias is beyond half a point.
"""

from __future__ import annotations

import sys
from statistics import NormalDist

import numpy as np
from scipy.stats import binom

from transferzoo.audits.record import Verdict
from transferzoo.audits.verdicts import ERROR, by_limit, held_out
from transferzoo.results.attackers import best_on_other_half
from transferzoo.results.statistics import clopper_pearson, holm_upper_bounds

AUDITS, LIMIT = 2000, 0.2
MOST = int(binom.ppf(0.999, AUDITS, ERROR))
"""Wrong verdicts that a right method exceeds once in a thousand settings."""
BIAS = 0.005


def simulate(rates: np.ndarray, common: float, n: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Return shares of pass and fail, of fails by a pooled bound, the bias, and the shortfall."""
    thresholds = np.array([NormalDist().inv_cdf(rate) for rate in rates])[:, None]
    passed = failed = pooled = 0
    bias = shortfall = 0.0
    for _ in range(AUDITS):
        shared, own = rng.standard_normal(n), rng.standard_normal((len(rates), n))
        hits = np.sqrt(common) * shared + np.sqrt(1 - common) * own < thresholds
        best = held_out(hits)
        found = by_limit(holm_upper_bounds(hits.sum(1).tolist(), n, ERROR), best.low, LIMIT)
        (outcomes,), chosen = best_on_other_half(hits[None].astype(float))
        true = (rates[chosen[0]] * (n // 2) + rates[chosen[1]] * (n - n // 2)) / n
        passed += found is Verdict.PASS
        failed += found is Verdict.FAIL
        pooled += clopper_pearson(round(outcomes.sum()), n, ERROR)[0] > LIMIT
        bias += (best.rate - true) / AUDITS
        shortfall += (rates.max() - true) / AUDITS
    return passed / AUDITS, failed / AUDITS, pooled / AUDITS, bias, shortfall


def main() -> int:
    rng, wrong = np.random.default_rng(0), 0
    print(f"{AUDITS} audits a setting, limit {LIMIT:.0%}; wrong verdicts: at most {MOST / AUDITS:.1%}")
    print("attackers    n  common  true rates     pass   fail  (pooled)    bias  shortfall")
    for n in (100, 300):
        for count in (1, 5, 18):
            for common in (0.0, 0.7):
                for name, rates in (
                    ("all at limit", np.full(count, LIMIT)),
                    ("one at limit", np.linspace(LIMIT, LIMIT / 2, count)),
                    ("one above", np.linspace(1.5 * LIMIT, LIMIT / 2, count)),
                ):
                    passed, failed, pooled, bias, short = simulate(rates, common, n, rng)
                    line = f"{count:>9} {n:>4} {common:>7} {name:>13}  {passed:>6.1%} {failed:>6.1%}"
                    print(f"{line} {pooled:>9.1%} {100 * bias:>+7.2f} {100 * short:>10.2f}", flush=True)
                    highest = 1.0 if name == "one above" else MOST / AUDITS
                    wrong += passed > MOST / AUDITS or failed > highest or abs(bias) > BIAS
    print(f"{wrong} settings are wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
