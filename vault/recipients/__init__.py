"""Notify the recipients of data about erasures, corrections and restrictions (Art. 19 GDPR), and chase them."""
