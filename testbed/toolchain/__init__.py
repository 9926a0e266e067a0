"""The ways to come by a tool: found on PATH, downloaded as a release, built from source."""
