"""Contacts: the addresses to which codes are sent, and since when each of them is there."""
