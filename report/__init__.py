"""The report on connections: the scenarios of tests/e2e as figures, a table and charts."""
