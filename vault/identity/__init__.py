"""Identify a data subject: one-time codes, sessions, apps that vouch, and evidence that staff record."""
