"""What is deployed, one component a file. Components declare resources; `model` decides their content."""
