"""Read, list, search, create, update and append records of data subjects."""
