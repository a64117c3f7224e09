"""Erasure: what goes and what stays, the steps that do it, and the proof."""
