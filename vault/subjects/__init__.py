"""Subjects and their records in storage: one sealed row a record, blind indexes, and changes to both."""
