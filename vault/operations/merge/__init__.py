"""Two entries of one person become one: nothing is lost, and nobody may do more with the data than before."""
