"""Reads the live cluster, through the program's kubeconfig. Nothing here changes anything there."""
