"""Nodes that run containers: real kubelets and containerd in namespaces of their own on this machine."""
