"""For operators and the data protection officer: tenants, policies, the audit log and the Art. 30 record."""
