"""Import customers, their records and their consents from files.

A file is split into chunks of lines. Each chunk is one transaction, with an audit entry and a mark, so that an
interrupted import resumes after the last completed chunk. Errors name line, code and field, never the value.
"""
