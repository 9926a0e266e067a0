"""Reads the live cluster, through the program's kubeconfig. Nothing but `LiveCluster.scale` and `resume` changes it."""
