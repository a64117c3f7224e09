"""Rectification, disputes and confirmed values (Arts. 16 and 18), and the steps that carry requests out."""
