"""Authorization, recording and sign-in: what every operation does before and after its own work."""
