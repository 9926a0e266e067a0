"""How an update is decided (plan) and carried out (run)."""
