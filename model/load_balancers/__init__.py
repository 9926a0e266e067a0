"""The kinds of load balancers, and the rules of each."""
