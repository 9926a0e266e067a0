"""The pure core: settings, srs.conf, replica shares, load-balancer rules, names. No I/O, no resources."""
