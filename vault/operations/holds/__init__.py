"""Legal holds: placed, changed, lifted, listed; and the erasures that go on when one is lifted."""
