"""Outgoing messages: mail over SMTP, and HTTP posts to registered addresses."""
