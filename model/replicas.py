"""Whole replicas from weights, and the order in which releases may change."""

from collections.abc import Mapping
from dataclasses import dataclass

from model.values import natural_key


def apportion(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` replicas among releases as closely to their weights as whole replicas allow.

    Every release with a weight above 0 gets at least one, a release with weight 0 gets none, the sum is
    `total`, and the largest deviation of a share from its weight is as small as possible. On a tie the
    release whose name comes first in natural order gets the replica.

    Replicas are given out one at a time to the release that lacks most. Giving one to a release that
    lacks less would leave the first one further short and the second one further over, so no other
    division has a smaller largest deviation.

    Raises ValueError if no weight is above 0, or if there are fewer replicas than releases with weight.
    """
    served = sorted((name for name, weight in weights.items() if weight > 0), key=natural_key)
    if not served:
        raise ValueError("at least one release must have a weight above 0")
    if total < len(served):
        raise ValueError(f"{total} replicas cannot serve {len(served)} releases with weight; each needs at least one")
    sum_of_weights = sum(weights[name] for name in served)
    replicas = {name: (1 if weight > 0 else 0) for name, weight in weights.items()}

    def lacking(name: str) -> int:
        return weights[name] * total - replicas[name] * sum_of_weights

    for _ in range(total - len(served)):
        replicas[max(served, key=lacking)] += 1  # max() keeps the first of equals: natural order
    return replicas


@dataclass(frozen=True)
class Share:
    """What a release is meant to get and what whole replicas give it, both in per cent of new viewers."""

    replicas: int
    wished: float
    real: float

    @property
    def off(self) -> float:
        """Points between the wish and the real share."""
        return abs(self.real - self.wished)


def shares(total: int, weights: Mapping[str, int]) -> dict[str, Share]:
    """The wished and the real share of every release, in natural order of the names."""
    replicas = apportion(total, weights)
    sum_of_weights = sum(weights.values())
    return {
        name: Share(
            replicas=replicas[name],
            wished=100 * weights[name] / sum_of_weights,
            real=100 * replicas[name] / total,
        )
        for name in sorted(weights, key=natural_key)
    }


def update_order(wanted: Mapping[str, int], ready: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Which releases grow, and which may change only once those are ready.

    wanted: replicas that the config gives each release.
    ready: ready replicas of each live Deployment now; a release that is not there has none. What an
        earlier up wished for is no measure: after a failed up the pods may not be there.
    """
    names = sorted(wanted, key=natural_key)
    growing = [name for name in names if wanted[name] > ready.get(name, 0)]
    return growing, [name for name in names if name not in growing]
