"""What the program reads from the live cluster, through its own kubeconfig. Nothing here changes anything there."""
