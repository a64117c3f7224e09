"""Corrections, disputes and verified values (Arts. 16 and 18 GDPR)."""
