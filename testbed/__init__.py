"""The embedded Kubernetes cluster: its tools, its processes, its simulated nodes."""
