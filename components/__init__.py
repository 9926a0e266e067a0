"""What is deployed, one component a file. Components declare resources; what they declare is decided in `model`."""
