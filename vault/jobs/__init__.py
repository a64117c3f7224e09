"""Durable jobs: work in idempotent steps that resumes after the process was killed."""
