"""The audit log: what was done with whose data, by whom and why. The only writer of audit entries."""
