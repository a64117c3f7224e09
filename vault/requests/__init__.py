"""Requests of people about their own data (Arts. 15 to 22 GDPR, CCPA): what is asked, in which state, by when."""
