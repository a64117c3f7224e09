"""Letters to people: in which words, in which language, to which of the addresses that the vault holds."""
