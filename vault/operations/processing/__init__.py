"""The record of processing activities (Art. 30 GDPR): what is declared, what was really read, and where they differ.

Pure but for :mod:`vault.operations.processing_record`, which gathers the facts: nothing here reads or waits.
"""
