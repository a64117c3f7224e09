"""Consent receipts: the facts of a consent event, in the formats of DPV and Kantara, signed."""
