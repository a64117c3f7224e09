"""Requests of data subjects (Arts. 15 to 22 GDPR, CCPA), from receipt to completion."""
