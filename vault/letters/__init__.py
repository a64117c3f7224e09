"""Letters to data subjects: templates, languages, and the address to which a letter goes."""
