"""The sweep of retention: who is due is looked at, and what nothing keeps any more is taken away."""
