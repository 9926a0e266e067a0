"""The Leases of an API server, with optimistic locking."""

import copy
from typing import Any

from cluster.live import ConflictError


class FakeLeases:
    """One Lease, with the methods of `LiveCluster`."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self._version = 0

    def lease(self, _name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.stored)

    def write_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._check(lease["metadata"].get("resourceVersion"))
        self._version += 1
        self.stored = copy.deepcopy(lease)
        self.stored["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(self.stored)

    def delete_lease(self, _name: str, version: str) -> None:
        if self.stored is not None:
            self._check(version)
        self.stored = None

    def _check(self, version: str | None) -> None:
        if version != (self.stored["metadata"]["resourceVersion"] if self.stored else None):
            raise ConflictError("the object has been modified")
