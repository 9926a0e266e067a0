"""Reads the live cluster, through the program's kubeconfig. Only three methods of `LiveCluster` change it."""
