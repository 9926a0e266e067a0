"""The operator's command, besides pulumi."""
