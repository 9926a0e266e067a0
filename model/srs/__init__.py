"""srs.conf: grammar, directives, versions, merging and secrets."""
