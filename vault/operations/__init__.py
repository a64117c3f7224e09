"""What the vault does, one verb a file. The only place where the rooms meet."""
