"""What can be decided without a resource: settings, srs.conf, replica shares, names. Nothing here does I/O."""
