"""Durable jobs: work in idempotent steps that goes on after the process was killed."""
