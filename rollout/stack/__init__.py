"""The stack file, git and Pulumi."""
