"""What the programs of bench/ share: the machine, the servers, the load, the report."""
