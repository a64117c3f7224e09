"""Requests of people about their own data, from receipt to completion."""
