"""Engine, transactions, column types, batching and migrations."""
