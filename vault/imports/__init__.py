"""Import customers, their records and their consents from files.

A file is cut into chunks of lines. Each chunk is one transaction with its audit entry and its own marker, so that an
interrupted import resumes where it stopped. Errors name the line, the code and the field, never the value.
"""
