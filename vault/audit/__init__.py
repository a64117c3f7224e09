"""The audit log: which operation used which fields of which subject, by which caller and why. The only writer of entries."""
