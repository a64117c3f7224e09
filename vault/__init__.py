"""Customer Data Vault: personal data sealed by field, read for a purpose, on record."""
