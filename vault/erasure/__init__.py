"""Erasure (Art. 17 GDPR): the verdict for each value, its execution, the verification and the certificate."""
