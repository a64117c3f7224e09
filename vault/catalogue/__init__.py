"""What the vault may hold: collections and fields, their types, and the purposes that need them."""
