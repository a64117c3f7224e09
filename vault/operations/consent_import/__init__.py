"""What people said elsewhere comes into the ledger, with its evidence: from files, or many items in one call."""
