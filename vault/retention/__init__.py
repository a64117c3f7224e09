"""Until when each value is kept: clocks, claims and ends (pure), holds, reviews and the ledger of tombstones."""
