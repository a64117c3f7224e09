"""Consents, objections and restrictions: events, the state of a subject, and the legal ground that follows from it."""
