"""Reads the live cluster, through the program's kubeconfig. Only `LiveCluster.scale` and `replace` change it."""
