"""What an operator runs besides pulumi."""
