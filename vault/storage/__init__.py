"""Engine, transactions, column types, batching and migrations: what every room's tables stand on."""
