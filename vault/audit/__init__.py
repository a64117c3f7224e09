"""The audit log: who did what with which fields of which subject, and why. The only writer of audit entries."""
