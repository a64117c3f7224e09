"""Legal holds: place, change, lift and list them, and resume the erasures that a hold stopped."""
