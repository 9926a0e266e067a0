"""A read-only view of the namespace as it is now."""

import json
from pathlib import Path
from typing import Any, cast

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from model.settings import KubernetesSettings

Object = dict[str, Any]
"""A Kubernetes object as the API server gives it (JSON, camelCase)."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds; a preview must not hang where the cluster cannot be reached."""


class Unreachable(RuntimeError):
    """The cluster did not answer, or refused to."""


class LiveCluster:
    """Reads the objects of one namespace.

    settings: where the cluster is. Raises ValueError if the kubeconfig cannot be used: that is a wrong
    config, other than a cluster that is away.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        path = Path(settings.kubeconfig).expanduser()
        if not path.is_file():
            raise ValueError(
                f"srs:kubernetes.kubeconfig: {settings.kubeconfig!r} is no file; it must be the path of a kubeconfig "
                "(`make up` makes the one of the dev stack)"
            )
        try:
            api = config.new_client_from_config(str(path), settings.context)
        except (ConfigException, OSError) as error:
            raise ValueError(f"srs:kubernetes.kubeconfig: {settings.kubeconfig!r} cannot be used: {error}") from error
        api.configuration.retries = 0
        self.namespace = settings.namespace
        self._core = client.CoreV1Api(api)
        self._apps = client.AppsV1Api(api)

    def live_namespace(self) -> Object | None:
        """The namespace, None if it is not there."""
        return self._read(self._core.read_namespace, self.namespace)

    def deployment(self, name: str) -> Object | None:
        """A Deployment, None if it is not there."""
        return self._read(self._apps.read_namespaced_deployment, name, self.namespace)

    def stateful_set(self, name: str) -> Object | None:
        """A StatefulSet, None if it is not there."""
        return self._read(self._apps.read_namespaced_stateful_set, name, self.namespace)

    def deployments(self, selector: str) -> dict[str, Object]:
        """The Deployments with these labels, by name."""
        return {
            item["metadata"]["name"]: item
            for item in self._list(self._apps.list_namespaced_deployment, label_selector=selector)
        }

    def replica_sets(self, selector: str) -> list[Object]:
        """The ReplicaSets with these labels."""
        return self._list(self._apps.list_namespaced_replica_set, label_selector=selector)

    def pods(self, selector: str = "") -> list[Object]:
        """The pods with these labels; terminating ones included."""
        return self._list(self._core.list_namespaced_pod, label_selector=selector)

    def warnings(self, pod: str) -> list[str]:
        """The messages of a pod's warning events, oldest first."""
        events = self._list(self._core.list_namespaced_event, field_selector=f"involvedObject.name={pod},type=Warning")
        events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [event["message"] for event in events if event.get("message")]

    def _read(self, call: Any, *args: str) -> Object | None:
        return self._call(call, *args)

    def _list(self, call: Any, **selectors: str) -> list[Object]:
        answer = self._call(call, self.namespace, **selectors)
        return cast(list[Object], answer["items"]) if answer else []

    def _call(self, call: Any, *args: str, **selectors: str) -> Object | None:
        """Call the API; the raw JSON is read because building the client's models takes longer than the call."""
        try:
            response = call(
                *args, **selectors, _preload_content=False, _request_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise Unreachable(f"the API server answered {error.status} {error.reason}") from error
        except HTTPError as error:
            raise Unreachable(f"the API server cannot be reached: {error}") from error
        return cast(Object, json.loads(response.data))
