"""What bench/compare, bench/idle and bench/syscalls share: the machine, the servers, the load, the report."""
