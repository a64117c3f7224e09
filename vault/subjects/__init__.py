"""Subjects and their records: one sealed row a record, how a value is shown, how a person is found."""
