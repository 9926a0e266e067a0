"""Reads the live cluster, through the program's kubeconfig. Only four methods of `LiveCluster` change it."""
