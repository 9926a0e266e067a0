"""Whole replicas from weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from model.config.values import natural_key, plural


def apportion(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` replicas among releases as closely to their weights as whole replicas allow.

    Every release with a weight above 0 receives at least one, a release with weight 0 none, the sum is
    `total`, and the largest deviation of a share from its weight is as small as possible. On a tie the
    release whose name comes first in natural order receives the replica.

    Replicas are assigned one at a time to the release with the largest deficit. Assigning one to a release
    with a smaller deficit would increase both the first one's deficit and the second one's surplus, so no
    other division has a smaller largest deviation.

    Raises ValueError if no weight is above 0, or if there are fewer replicas than releases with weight.
    """
    weighted = sorted((name for name, weight in weights.items() if weight > 0), key=natural_key)
    if not weighted:
        raise ValueError("at least one release must have a weight above 0")
    if total < len(weighted):
        verb = "is" if total == 1 else "are"
        count = plural(len(weighted), "release")
        raise ValueError(f"{plural(total, 'replica')} {verb} too few for {count} with weight; each needs at least one")
    sum_of_weights = sum(weights[name] for name in weighted)
    replicas = {name: (1 if weight > 0 else 0) for name, weight in weights.items()}

    def deficit(name: str) -> int:
        return weights[name] * total - replicas[name] * sum_of_weights

    for _ in range(total - len(weighted)):
        replicas[max(weighted, key=deficit)] += 1  # max() keeps the first of equals: natural order
    return replicas


@dataclass(frozen=True)
class Share:
    """The share of new viewers by weight (desired), and by whole replicas (actual), both in per cent."""

    replicas: int
    desired: float
    actual: float

    @property
    def deviation(self) -> float:
        """Percentage points between the desired and the actual share."""
        return abs(self.actual - self.desired)


def shares(total: int, weights: Mapping[str, int]) -> dict[str, Share]:
    """The desired and the actual share of every release, in natural order of the names."""
    replicas = apportion(total, weights)
    sum_of_weights = sum(weights.values())
    return {
        name: Share(
            replicas=replicas[name],
            desired=100 * weights[name] / sum_of_weights,
            actual=100 * replicas[name] / total,
        )
        for name in sorted(weights, key=natural_key)
    }
