"""Bring customers and their records in from files: checked, sealed, indexed and on the log, as if each had been sent.

A file is cut into chunks of lines; each chunk is one transaction with its audit entry and its own mark, so that an
import that dies is taken up where it stopped. Values go from the file to the seal and nowhere else: what is wrong with
a line is told by line, code and field.
"""
